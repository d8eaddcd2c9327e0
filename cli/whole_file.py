"""How is a file written line by line so that it is whole, or not there at all?"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..protocol.errors import Conflict, Invalid
from .interrupts import raising_interrupts

STDOUT = "-"
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # a file system that has none
MODE = 0o600  # like what it tells of, until its owner says otherwise


def check_target(path: Path, *, force: bool) -> None:
    """Raise before anything is done for a file that could not be written; pipes and devices can."""
    if path.is_dir():
        raise Invalid(f"{path} is a folder: name a file in it", field="file")
    if not path.parent.is_dir():
        raise Invalid(f"{path}: there is no folder {path.parent}: make it first", field="file")
    if path.exists() and not force and not _is_special(path):
        raise Conflict(f"{path} is there already: name another file, or add --force", field="file")


@contextmanager
def target_of(name: str, *, force: bool) -> Iterator[TextIO]:
    """Open a file of that name, or standard output for `-`."""
    if name == STDOUT:
        yield sys.stdout
        return
    with whole_file(Path(name), force=force) as target:
        yield target


@contextmanager
def whole_file(path: Path, *, force: bool) -> Iterator[TextIO]:
    """Open a new file that takes its name only at the end; Ctrl-C and errors leave nothing.

    A named pipe or a device is written to as it is. Raises Conflict where a file of that name is
    there, also when it came meanwhile, unless told to `force`.
    """
    check_target(path, force=force)
    if _is_special(path):
        with path.open("w", encoding="utf-8", newline="") as target:
            yield target
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with raising_interrupts():
        descriptor = _made(temporary, path)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as target:  # noqa: PTH123 - opens a descriptor
                yield target
                target.flush()
                os.fsync(descriptor)
            _name(temporary, path, force=force)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()


def _made(temporary: Path, path: Path) -> int:
    """Open a file that is new; an error names the one that was asked for."""
    try:
        return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _name(temporary: Path, path: Path, *, force: bool) -> None:
    if not force:
        try:
            os.link(temporary, path)  # which never replaces a file
        except FileExistsError as error:
            raise Conflict(
                f"{path} came to be meanwhile: name another file, or add --force", field="file"
            ) from error
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
        else:
            return
    temporary.replace(path)
