"""Does `remuda-store --check` see what would keep a store from its work?"""

from __future__ import annotations

import os
from pathlib import Path

from remuda.config.findings import Level
from remuda.config.home import Home
from remuda.config.settings_store import StoreSettings
from remuda.config.store_home import ensure_store_secret, port_file, secret_file, write_store_port
from remuda.store import checking


def test_a_quota_above_the_size_of_the_disk_is_named(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    whole = disk.f_blocks * disk.f_frsize
    (found,) = checking.judge_quota(whole + 1, tmp_path)
    assert (Level.WARNING, True) == (found.level, "quota_bytes" in found.text)
    assert [] == list(checking.judge_quota(whole, tmp_path))


def test_a_secret_that_others_can_read_is_serious(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    ensure_store_secret(home)
    assert [] == list(checking.of_secret(home))
    secret_file(home).chmod(0o640)
    (found,) = checking.of_secret(home)
    assert Level.SERIOUS is found.level


def test_a_store_that_runs_says_where_it_listens(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    (starting,) = checking.of_port(home, runs=True)
    assert Level.WARNING is starting.level
    write_store_port(port_file(home), 7704)
    (found,) = checking.of_port(home, runs=True)
    assert (Level.FINE, "listens on port 7704") == (found.level, found.text)


def test_a_bucket_that_cannot_be_read_is_serious() -> None:
    settings = StoreSettings(url="nonsense://bucket/prefix")
    (found,) = checking.of_bucket(settings)
    assert (Level.SERIOUS, True) == (found.level, "nonsense://bucket/prefix" in found.text)
