"""What is done with the files of a scheduler, whether it runs or not: backup, restore, migrate.

`remuda backup`, `remuda restore` and `remuda migrate` run this as a process of its own: what looks
into the journal belongs to the scheduler, and nothing here may slow it down.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apsw

from ..config import sqlite
from ..config.daemon import home_of
from ..config.load import Loaded, load
from ..config.state_dir import claim
from ..protocol.errors import Invalid, RemudaError
from ..protocol.resources import format_bytes
from . import backup, restore, schema
from .bundle import BackupError, Manifest, Reader, described
from .schema import OPENED_SINCE, SCHEMA_VERSION, JournalError

BAR_EVERY_S = 0.1
BAR_CELLS = 24
FAILED, NEEDED = 1, 1


class Bar:
    """One live line on stderr, where somebody looks."""

    def __init__(self, *, quiet: bool) -> None:
        self._is_shown = sys.stderr.isatty() and not quiet
        self._at_s = 0.0

    def show(self, what: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        if not self._is_shown or now_s - self._at_s < BAR_EVERY_S:
            return
        self._at_s = now_s
        full = round(BAR_CELLS * done / total) if total else BAR_CELLS
        bar = "█" * full + "·" * (BAR_CELLS - full)
        sys.stderr.write(f"\r{bar} {what} {format_bytes(done)} of {format_bytes(total)}\x1b[K")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")


def main(argv: Sequence[str] | None = None) -> int:
    """Do one thing; an error is one line on stderr."""
    options = _parser().parse_args(argv)
    bar = Bar(quiet=options.quiet)
    try:
        home = home_of(options.home)
        loaded = load(home.root)
        said: dict[str, Any] = _VERBS[options.verb](options, loaded, bar)
    except RemudaError as error:
        bar.clear()
        sys.stderr.write(f"remuda: {error}\n")
        return error.exit_code
    except OSError as error:
        bar.clear()
        sys.stderr.write(f"remuda: {error.filename or 'system'}: {error.strerror or error}\n")
        return FAILED
    except apsw.Error as error:
        bar.clear()
        sys.stderr.write(f"remuda: the journal: {error}\n")
        return FAILED
    bar.clear()
    code = int(said.pop("exit_code", 0))
    lines = said.pop("lines")
    if options.json:
        print(json.dumps(said, indent=2, ensure_ascii=False))  # noqa: T201 - what was asked for
    else:
        print("\n".join(lines[-1:] if options.quiet else lines))  # noqa: T201 - as above
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="remuda")
    parser.add_argument("verb", choices=sorted(_VERBS))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--into", type=Path)
    parser.add_argument("--keep", type=int, default=0)
    parser.add_argument("--with-keys", action="store_true")
    parser.add_argument("--with-objects", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--continue", dest="goes_on", action="store_true")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--to", type=int)
    return parser


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _backup(options: argparse.Namespace, loaded: Loaded, bar: Bar) -> dict[str, Any]:
    places = backup.places_of(home_of(options.home), loaded)
    now_ms = _now_ms()
    target: Path | None = options.file
    prefix = f"remuda-{places.cluster}"
    if options.into is not None:
        options.into.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = options.into / backup.timed_name(prefix, now_ms)
    if target is None:
        raise Invalid("say where to: a file, or a folder with --to", field="file")
    began_s = time.monotonic()
    manifest = backup.make(
        places, target, now_ms=now_ms, on_progress=bar.show, with_keys=options.with_keys,
        with_objects=options.with_objects,
    )  # fmt: skip
    gone = []
    if options.into is not None and options.keep:
        gone = backup.rotate(options.into, f"{prefix}-*.tar", options.keep)
    size = format_bytes(target.stat().st_size)
    took = f"{time.monotonic() - began_s:.1f} s"
    lines = [
        f"{manifest.open_tasks:,} open and {manifest.ended_tasks:,} ended tasks, schema "
        f"{manifest.schema}, epoch {manifest.epoch}: {size} in {took}"
    ]
    if not options.with_keys:
        lines.append("without keys: keep those of the home elsewhere, or take --with-keys")
    lines += [f"removed {path}" for path in gone]
    lines.append(str(target))
    return {
        "file": str(target),
        "bytes": target.stat().st_size,
        **described(manifest),
        "removed": [str(path) for path in gone],
        "lines": lines,
    }


def _restore(options: argparse.Namespace, loaded: Loaded, bar: Bar) -> dict[str, Any]:
    if options.file is None:
        raise Invalid("name the file of the backup", field="file")
    reader = Reader(options.file)
    try:
        if options.show:
            said = dict(described(reader.manifest))
            lines = shown(reader.manifest, _now_ms())
            return {**said, "members": reader.manifest.members, "lines": lines}
        home = home_of(options.home)
        home.create()
        places = backup.places_of(home, loaded)
        done = restore.restore(
            reader, places, principal=_user(), now_ms=_now_ms(), on_progress=bar.show,
            force=options.force, goes_on=options.goes_on,
        )  # fmt: skip
    finally:
        reader.close()
    lines = [f"moved aside: {path}" for path in done.kept]
    lines += [f"note: {remark}" for remark in done.remarks]
    lines.append(f"restored into {home.root}: the scheduler goes on after epoch {done.epoch}")
    if done.holds:
        lines.append(
            f"it will hold: tasks in doubt until you decide: {reader.manifest.open_tasks:,} "
            "(`remuda recovery`, docs/data.md)"
        )
    return {**asdict(done), "lines": lines}


def shown(manifest: Manifest, now_ms: int) -> list[str]:
    """Say what is in a backup, first of all of when it is."""
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(manifest.at_ms / 1000))
    hours = (now_ms - manifest.at_ms) / 3_600_000
    has = {"keys": manifest.has_keys, "objects": manifest.has_objects}
    rows = {
        "made": f"{made}, {hours:,.1f} h ago, while a scheduler "
        + ("ran" if manifest.was_running else "was stopped"),
        "cluster": f"{manifest.cluster}, on {manifest.host}",
        "tasks": f"{manifest.open_tasks:,} open, {manifest.ended_tasks:,} ended",
        "along": ", ".join(name for name in has if has[name]) or "neither keys nor objects",
        "remuda": f"{manifest.version}, schema {manifest.schema}, opened since schema "
        f"{manifest.opened_since}",
        "epoch": str(manifest.epoch),
    }
    return [f"{word:<8} {text}" for word, text in rows.items()]


def _migrate(options: argparse.Namespace, loaded: Loaded, bar: Bar) -> dict[str, Any]:
    places = backup.places_of(home_of(options.home), loaded)
    if not places.journal.exists():
        raise BackupError(f"there is no journal in {places.state_dir}: name the home with --home")
    now, oldest = _versions(places.journal)
    wanted = SCHEMA_VERSION if options.to is None else options.to
    if not 1 <= wanted <= SCHEMA_VERSION:
        raise Invalid(f"--to {wanted}: this remuda knows schemas 1 to {SCHEMA_VERSION}", field="to")
    said: dict[str, Any] = {"schema": now, "opened_since": oldest, "newest": SCHEMA_VERSION}
    about = f"schema {now}, opened by remudas that know schema {oldest} or newer"
    if oldest > SCHEMA_VERSION:
        raise JournalError(f"{about}; this remuda knows {SCHEMA_VERSION}: upgrade remuda")
    if wanted < now:
        if oldest > wanted:
            raise JournalError(
                f"{about}: a remuda that knows schema {wanted} cannot open it; restore the backup "
                f"that was made before the migration ({places.state_dir / 'backups'})"
            )
        return {**said, "lines": [f"{about}: nothing is to be done for schema {wanted}"]}
    if wanted == now:
        return {**said, "lines": [f"{about}: nothing is to be done"]}
    if options.check:
        steps = ", ".join(map(str, range(now + 1, wanted + 1)))
        after = f"then opened since schema {OPENED_SINCE.get(wanted, wanted)}"
        return {**said, "exit_code": NEEDED, "lines": [f"{about}: to do: {steps}; {after}"]}
    kept = _bring(places, wanted, bar)
    now, oldest = _versions(places.journal)
    said = {"schema": now, "opened_since": oldest, "newest": SCHEMA_VERSION, "backup": str(kept)}
    return {**said, "lines": [f"backup {kept}", f"now schema {now}"]}


def _bring(places: backup.Places, wanted: int, bar: Bar) -> Path:
    lock = claim(places.state_dir, "scheduler")
    try:
        kept = backup.before_migration(places, _versions(places.journal)[0], _now_ms(), bar.show)
        connection = sqlite.connect(places.journal, autocheckpoint=False)
        try:
            schema.migrate(connection, to=wanted)
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            connection.close()
    finally:
        os.close(lock)
    return kept


def _versions(path: Path) -> tuple[int, int]:
    connection = sqlite.connect(path, read_only=True)
    try:
        return schema.version_of(connection), schema.opened_since(connection)
    finally:
        connection.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"  # a user id without a name, as in some containers


_VERBS: dict[str, Callable[[argparse.Namespace, Loaded, Bar], dict[str, Any]]] = {
    "backup": _backup,
    "restore": _restore,
    "migrate": _migrate,
}


if __name__ == "__main__":
    sys.exit(main())
