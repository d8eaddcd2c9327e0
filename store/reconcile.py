"""After a crash: do the index and the objects on the disk say the same?"""

from __future__ import annotations

from typing import NamedTuple

import apsw

from .backend import Backend

REMOVED_PER_BATCH = 1_000


class Found(NamedTuple):
    """What was put right at a start."""

    unnamed: int
    """Objects without a row: nobody was told that they are kept."""
    lost: int
    """Rows without an object: the disk lost what it had promised to keep."""


def reconcile(connection: apsw.Connection, backend: Backend) -> Found:
    """Remove objects that the index does not know, and rows whose objects are gone."""
    known = {row[0]: row[1] for row in connection.execute("SELECT digest, id FROM objects")}
    unnamed: list[bytes] = []
    for digest in backend.digests():
        if known.pop(digest, None) is None:
            unnamed.append(digest)
    for start in range(0, len(unnamed), REMOVED_PER_BATCH):
        backend.remove(unnamed[start : start + REMOVED_PER_BATCH])
    if known:
        ids = [(object_id,) for object_id in known.values()]
        with connection:
            connection.executemany("DELETE FROM objects WHERE id = ?", ids)
            connection.executemany("DELETE FROM owners WHERE object = ?", ids)
            connection.executemany("DELETE FROM members WHERE tree = ?", ids)
            connection.executemany("DELETE FROM members WHERE member = ?", ids)
    return Found(len(unnamed), len(known))
