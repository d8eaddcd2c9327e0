"""Be a task that uses GPUs, and write down who uses which: the ground truth of GPU tests.

`python gpu_task.py TRUTH SECONDS VRAM_BYTES SHARE_MILLI`, or `hold(...)` in a worker. For its
life it locks each of its UUIDs (a whole card: exclusively) and stands in the card's book. It ends
after the seconds, or when there is a file `enough` in TRUTH.
"""

import fcntl
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

MILLI = 1000
ENOUGH = "enough"


def seen():
    """Return what the environment tells a task of its cards."""
    names = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "REMUDA_GPU_UUIDS", "REMUDA_TASK_ID")
    return {name: os.environ.get(name) for name in names}


def hold(truth, seconds=0.0, vram_bytes=0, share_milli=0):
    """Use the cards for a while; return the environment and the pid."""
    folder = Path(truth)
    uuids = [uuid for uuid in os.environ["REMUDA_GPU_UUIDS"].split(",") if uuid]
    mine = {"pid": os.getpid(), "vram_bytes": vram_bytes, "share_milli": share_milli}
    with ExitStack() as stack:
        for uuid in uuids:
            _lock(stack, folder, uuid, alone=share_milli == MILLI)
            _change_book(folder, uuid, lambda rows: [*rows, mine])
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (folder / ENOUGH).exists():
            time.sleep(min(0.05, seconds))
        for uuid in uuids:
            _change_book(folder, uuid, lambda rows: [row for row in rows if row != mine])
    return {**seen(), "pid": os.getpid()}


def echo(gib):
    """Return the argument on which the need depends."""
    return gib


class Model:
    """Be a handler that holds a part of a card."""

    def __call__(self):
        return {**seen(), "REMUDA_TASK_ID": "", "pid": os.getpid()}


def _lock(stack, folder, uuid, alone):
    file = stack.enter_context((folder / f"{uuid}.life").open("a"))
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        with (folder / "overlaps").open("a") as overlaps:
            overlaps.write(f"{uuid} alone={alone} pid={os.getpid()}\n")


def _change_book(folder, uuid, change):
    """Change who stands in a card's book, and append each state of it to its history."""
    with (folder / f"{uuid}.mutex").open("a") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        book = folder / f"{uuid}.book"
        rows = change(json.loads(book.read_text()) if book.exists() else [])
        book.write_text(json.dumps(rows))
        with (folder / f"{uuid}.history").open("a") as history:
            history.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    print(json.dumps(hold(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
