"""How fast is a large file on a node and back, and what do small tasks feel of it meanwhile?

Each way has two hops: into the store, where it is synced, and out of it. Beside it, in turns, the
same bytes over bare CURVE sockets onto the disk (see store.py): what the hops allow is one after
the other. On its way there the file is also copied once, into the task's directory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench_cluster import running_cluster
from store import LARGE_BYTES, MIB, bare_mib_s, touch_memory

from remuda import Client
from remuda.config.home import Home
from remuda.config.store_home import objects_dir

CALLS = 20_000
ROUNDS = 10
WAYS = 3
FIRST_BYTES_S = 120.0
FILES_WRITTEN = 5
"""On the way there and back: the store's, the cache's, the task's, the store's again, and ours."""


def main() -> dict[str, float]:
    """Return MiB/s of both ways with what the hops allow, and no-op tasks per second beside it."""
    with running_cluster(nodes=1) as home, Client(home=home) as client:
        folder = home.parent / "files"
        folder.mkdir()
        path = random_file(folder / "large", LARGE_BYTES)
        rounds = [one_round(client, folder, path) for _ in range(WAYS)]
        return {
            **{key: statistics.median(each[key] for each in rounds) for key in rounds[0]},
            "again_s": again_s(client, path),
            **beside_a_transfer(client, home, path),
        }


def one_round(client: Client, folder: Path, path: Path) -> dict[str, float]:
    """Measure the hops and both ways once."""
    make_new(path)
    hop_put = bare_mib_s(folder, write=True, sync=True)
    hop_get = bare_mib_s(folder, write=True)
    touch_memory(FILES_WRITTEN * LARGE_BYTES)
    there_s, back_s = there_and_back(client, path)
    allowed_s = LARGE_BYTES / MIB * (1 / hop_put + 1 / hop_get)
    return {
        "hop_put_mib_s": hop_put,
        "hop_get_mib_s": hop_get,
        "there_mib_s": LARGE_BYTES / MIB / there_s,
        "back_mib_s": LARGE_BYTES / MIB / back_s,
        "there_ratio": (allowed_s + copy_s(path)) / there_s,
        "back_ratio": allowed_s / back_s,
    }


def random_file(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    os.sync()
    return path


def make_new(path: Path) -> None:
    """Change the beginning of a file, so that nobody has it."""
    with path.open("r+b") as file:
        file.write(os.urandom(16))
    os.sync()


def there_and_back(client: Client, path: Path) -> tuple[float, float]:
    """Send a file to a task that changes its last byte and gives it back."""
    work = f"date +%s.%N; printf x >> {path.name}"
    begun = time.time()
    task = client.submit_command(["sh", "-c", work], files=[path], outputs=[path.name])
    there = float(task.result(600).stdout)
    saved = task.files[path.name].save(path.with_name("back"))
    back = time.time()
    saved.unlink()
    return there - begun, back - there


def again_s(client: Client, path: Path) -> float:
    """Send the same file again: nothing of it is moved but the copy for the task."""
    begun = time.perf_counter()
    client.submit_command(["true"], files=[path]).result(600)
    return time.perf_counter() - begun


def copy_s(path: Path) -> float:
    begun = time.perf_counter()
    shutil.copyfile(path, path.with_name("copy"))
    return time.perf_counter() - begun


def beside_a_transfer(client: Client, home: Path, path: Path) -> dict[str, float]:
    """Count no-op tasks per second without and with a transfer, in pairs whose order changes.

    The ratio is the median of the pairs' own, as the machine's speed drifts more than they differ.
    """
    calls_per_s(client)
    pairs = [_pair(client, home, path, is_alone_first=bool(each % 2)) for each in range(ROUNDS)]
    alone, beside, moved = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(busy / quiet for quiet, busy, _ in pairs)
    return {
        "calls_alone": alone,
        "calls_beside": beside,
        "calls_ratio": ratio,
        "beside_mib": moved,
    }


def _pair(
    client: Client, home: Path, path: Path, *, is_alone_first: bool
) -> tuple[float, float, float]:
    """Return the rates alone and beside a transfer, and the MiB that were moved beside them.

    The transfer's own client would be on another host: here it takes what nobody needs.
    """
    alone = calls_per_s(client) if is_alone_first else 0.0
    for partial in partials(home):
        partial.unlink()
    with subprocess.Popen([sys.executable, __file__, "send", str(home), str(path)]) as sender:
        wait_for_bytes(home)
        before = landed_mib(home)
        beside = calls_per_s(client)
        moved = landed_mib(home) - before
        assert sender.poll() is None, "the transfer was over before the calls were"
        sender.terminate()
    return alone or calls_per_s(client), beside, moved


def landed_mib(home: Path) -> float:
    return sum(path.stat().st_size for path in partials(home)) / MIB


def partials(home: Path) -> list[Path]:
    return list((objects_dir(Home(home)) / "partial").iterdir())


def wait_for_bytes(home: Path) -> None:
    """Wait until the file is hashed, and the first bytes are in the store."""
    ends = time.monotonic() + FIRST_BYTES_S
    while not any(path.stat().st_size for path in partials(home)):
        assert time.monotonic() < ends, "nothing came to the store"
        time.sleep(0.05)


def calls_per_s(client: Client) -> float:
    start = time.perf_counter()
    values = list(client.map("noop_task:noop", range(CALLS)).results(timeout=300))
    assert len(values) == CALLS
    return CALLS / (time.perf_counter() - start)


def _send(home: Path, path: Path) -> None:
    """Send files over and over, each with another first byte."""
    os.setsid()
    os.nice(19)
    Path("/proc/self/autogroup").write_text("19")
    with Client(home=home) as client:
        while True:
            make_new(path)
            client.submit_command(["true"], files=[path]).result(600)


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        _send(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        for key, value in main().items():
            print(f"{key:18} {value:,.2f}")
