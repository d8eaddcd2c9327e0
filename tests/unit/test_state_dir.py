"""Is a state directory one daemon's alone, whoever looks whether it runs?"""

import fcntl
import os
from pathlib import Path

import pytest

from remuda.config import state_dir
from remuda.config.state_dir import StateDirError, claim, is_claimed


def test_a_second_daemon_is_refused_for_as_long_as_the_first_has_the_folder(tmp_path: Path) -> None:
    lock = claim(tmp_path, "store")
    assert is_claimed(tmp_path)
    with pytest.raises(StateDirError, match="another store runs on"):
        claim(tmp_path, "store")
    os.close(lock)
    assert not is_claimed(tmp_path)


def test_who_looks_whether_a_daemon_runs_keeps_none_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(claim(tmp_path, "store"))
    looking = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(state_dir.time, "sleep", lambda _: os.close(looking))
    lock = claim(tmp_path, "store")
    assert is_claimed(tmp_path)
    os.close(lock)
