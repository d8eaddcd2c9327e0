"""What the store daemon can be told: where objects are kept, how much, and how long."""

from __future__ import annotations

from .fields import DAY_S, GIB, HOUR_S, MIB, Bytes, FilePath, Seconds, Section, Text, setting


class StoreSettings(Section):
    """The store daemon: where objects are kept, how much, and how long."""

    READERS = ("store",)

    state_dir: FilePath | None = setting(
        None, "directory of the index and of objects; unset: in the home", fixed=True
    )
    url: Text | None = setting(
        None,
        "bucket for the objects instead of the directory, as s3://BUCKET/PREFIX",
        fixed=True,
    )
    max_object_bytes: Bytes = setting(10 * GIB, "largest object", MIB, live=True)
    quota_bytes: Bytes = setting(100 * GIB, "all objects together", MIB, live=True)
    user_quota_bytes: Bytes = setting(50 * GIB, "objects that one user has put", MIB, live=True)
    disk_free_bytes_min: Bytes = setting(
        GIB, "free space of its disk below which nothing is put; 0: until it is full", live=True
    )
    unclaimed_keep_s: Seconds = setting(
        6 * HOUR_S,
        "how long an object is kept for a task that is still to come",
        1.0,
        30 * DAY_S,
        live=True,
    )
    partial_keep_s: Seconds = setting(
        6 * HOUR_S, "how long an upload that broke off can be resumed", 1.0, 30 * DAY_S, live=True
    )
    collect_every_s: Seconds = setting(
        600.0, "how often objects that nothing refers to are looked for", 0.1, DAY_S, live=True
    )
