"""Which directory does a call run in, and what of it goes to the store?

A call for which the agent has prepared something runs in `<tasks>/<attempt>/work`, and finds the
objects that its arguments name in `<tasks>/<attempt>/objects`. Any other runs in the worker's own
directory, which is empty when it starts. What a call leaves there moves to the first place if it
returns files, and is removed if not. One look tells for a batch of calls that nothing is prepared
for any of them, which is so for most.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat
from typing import NamedTuple

from .batches import attempt_key
from .files import FILE, File, Row, checked_name, copy_file, digest_file, kind_of
from .large import Parcel, map_file
from .values import VALUE_BYTES_MAX, ValueTooLarge

RETURNED = "returned.json"
"""What the agent is to store: rows of [name, path, kind, SHA-256]; the value has no name."""
VALUE = "value"
FILES_MAX = 999
"""Files that one call returns; with its value an attempt then has 1,000 objects."""
FOLDER_LINKS = 2
"""Links of a folder without folders in it."""
_UNTOUCHED_NS = 10**9


class NotReturned(Exception):  # noqa: N818 - an outcome of a call
    """A file that a call returns is not there, or not its own."""

    code = "output_missing"


class _Taken(NamedTuple):
    row: Row
    path: pathlib.Path


class TaskDir:
    """The directories of one worker; `enter` and `leave` are short, as each call pays for them."""

    def __init__(self, tasks_dir: str, own_dir: pathlib.Path, *, moves: bool) -> None:
        self._tasks_dir = tasks_dir
        self._own_dir = own_dir
        self._own_text = str(own_dir)
        self._own_fd = -1
        self._moves = moves  # else the task has said where it wants to run
        self._key = b"", 0
        self._work = self._own_text
        self._counts = bool(tasks_dir) and _counts_folders(tasks_dir)
        self._may_be_prepared = True
        self._is_prepared = False
        self._placed: dict[Row, str] = {}
        self._taken: list[_Taken] = []
        if tasks_dir:
            self._renew()

    def look(self) -> None:
        """See whether calls have folders at all; those of a batch are there before it comes."""
        if self._counts:
            try:
                links = os.stat(self._tasks_dir).st_nlink  # noqa: PTH116 - each batch pays for it
            except OSError:
                links = FOLDER_LINKS  # it is gone, and what was prepared with it
            self._may_be_prepared = links > FOLDER_LINKS

    def enter(self, task: bytes, attempt: int) -> None:
        """Turn to a call."""
        self._key = task, attempt
        if not self._tasks_dir or not self._may_be_prepared:
            return
        work = self._folder + "/work"
        if not os.access(work, os.F_OK):
            return
        self._work, self._is_prepared = work, True
        os.environ["REMUDA_TASK_DIR"] = work
        if self._moves:
            os.chdir(work)

    def leave(self) -> None:
        """Leave the call, and nothing of it in the worker's own directory."""
        if not self._tasks_dir:
            return
        if self._placed or self._taken:
            self._placed, self._taken = {}, []
        if self._is_prepared:
            self._work, self._is_prepared = self._own_text, False
            os.environ["REMUDA_TASK_DIR"] = self._own_text
        elif not self._is_untouched():
            shutil.rmtree(self._own_dir, ignore_errors=True)
            self._renew()
        if self._moves:
            os.fchdir(self._own_fd)

    def enter_member(self, task: bytes, attempt: int) -> None:
        """Turn to a call of a batch: its files are apart from those of its neighbours."""
        self._key = task, attempt
        if self._tasks_dir:
            self._work, self._is_prepared = self._folder + "/work", True

    def leave_member(self) -> None:
        """Leave a call of a batch, and its files as they are."""
        self._placed, self._taken = {}, []
        self._work, self._is_prepared = self._own_text, False

    def file(self, row: Row) -> File:
        """Put a file that an argument names into the call's directory."""
        path = self._placed.get(row)
        if path is None:
            target = self._free_path(row.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_file(self._object(row.digest, row.size), target, row.kind)
            path = self._placed[row] = str(target)
        return File.received(row, path=path)

    def value(self, digest: bytes, size: int) -> memoryview:
        """Return the bytes of a large argument: mapped, and private when they are written to."""
        return map_file(self._object(digest, size))

    def take(self, file: File) -> Row:
        """Note a file that the call returns; raises NotReturned."""
        if not self._tasks_dir:
            raise NotReturned("this node keeps no files of tasks: its agent is an older one")
        root = pathlib.Path(self._work).resolve()
        path = (root / file).resolve()
        if root not in path.parents:
            raise NotReturned(f"{file!r} is not in the directory of its task, {root}")
        for taken in self._taken:
            if taken.path == path:
                return taken.row
        try:
            status = path.stat()
        except OSError as error:
            raise NotReturned(f"the task returned {file!r}: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise NotReturned(f"the task returned {file!r}, which is no file: use outputs=[...]")
        if len(self._taken) >= FILES_MAX:
            raise NotReturned(
                f"the task returned more than {FILES_MAX} files: use outputs=[...] for so many"
            )
        digest, size = digest_file(path)
        name = file.name
        if any(taken.row.name == name for taken in self._taken):
            name = checked_name(str(path.relative_to(root)))
        row = Row(name, digest, size, kind_of(status.st_mode))
        self._taken.append(_Taken(row, path))
        return row

    def keep(self, parcel: Parcel) -> bool:
        """Leave for the agent what a result names; say whether that is anything."""
        if not self._taken and not parcel.stored:
            return False
        if not self._tasks_dir:
            size = sum(stored.size for stored in parcel.stored)
            remedy = f"this node has no place for more than {VALUE_BYTES_MAX} bytes"
            raise ValueTooLarge("the value", f"result of {size} bytes", remedy)
        folder = pathlib.Path(self._folder)
        folder.mkdir(mode=0o700, exist_ok=True)
        work, root = folder / "work", pathlib.Path(self._work).resolve()
        if self._taken and not self._is_prepared:
            self._own_dir.rename(work)
            self._renew()
        rows = [
            [row.name, str(work / path.relative_to(root)), row.kind, row.digest.hex()]
            for row, path in self._taken
        ]
        for stored in parcel.stored:
            with (folder / VALUE).open("wb", buffering=0) as file:
                for piece in stored.pieces:
                    _write(file.fileno(), piece)
            rows.append(["", str(folder / VALUE), FILE, stored.digest.hex()])
        (folder / RETURNED).write_text(json.dumps(rows), encoding="utf-8")
        return True

    @property
    def _folder(self) -> str:
        """Name the folder that the agent keeps for the call."""
        return f"{self._tasks_dir}/{attempt_key(*self._key)}"

    def _renew(self) -> None:
        """Make the worker's own directory anew, with a time of change that tells a touched one."""
        self._own_dir.mkdir(mode=0o700, exist_ok=True)
        os.utime(self._own_dir, ns=(_UNTOUCHED_NS, _UNTOUCHED_NS))
        if self._own_fd >= 0:
            os.close(self._own_fd)
        self._own_fd = os.open(self._own_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.environ["REMUDA_TASK_DIR"] = self._own_text
        if self._moves:
            os.fchdir(self._own_fd)

    def _is_untouched(self) -> bool:
        status = os.fstat(self._own_fd)
        return status.st_mtime_ns == _UNTOUCHED_NS and status.st_nlink > 0

    def _free_path(self, name: str) -> pathlib.Path:
        """Return where a file may lie; a second one of its name gets a folder of its own."""
        path, number = pathlib.Path(self._work, name), 1
        while os.path.lexists(path):
            number += 1
            path = pathlib.Path(self._work, str(number), name)
        return path

    def _object(self, digest: bytes, size: int) -> pathlib.Path:
        path = pathlib.Path(self._folder, "objects", digest.hex())
        try:
            found = path.stat().st_size
        except OSError as error:
            raise ValueError(f"an argument is not on this node: {error}") from error
        if found != size:
            raise ValueError(f"an argument has {found} bytes on this node, not {size}")
        return path


def _counts_folders(path: str) -> bool:
    """Tell whether the links of a folder count the folders in it, which not every file system does.

    The folder around it has this one, so that it has three links where they are counted.
    """
    folder = pathlib.Path(path)
    try:
        inside, around = folder.stat(), folder.parent.stat()
    except OSError:
        return False
    is_one = inside.st_dev == around.st_dev
    return is_one and inside.st_nlink >= FOLDER_LINKS and around.st_nlink > FOLDER_LINKS


def _write(fd: int, piece: bytes | memoryview) -> None:
    view = memoryview(piece)
    while view.nbytes:
        view = view[os.write(fd, view) :]
