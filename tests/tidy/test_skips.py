"""Does CI fail on a skip that nobody expected, and only there?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import house

TESTS_FAILED = 1


def run_skipping(folder: Path, reason: str, *args: str, ci: str = "true") -> int:
    shutil.copy(house.ROOT / "tests" / "conftest.py", folder)
    source = f"import pytest\n\n\ndef test_skipping():\n    pytest.skip({reason!r})\n"
    (folder / "test_it.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder), *args]
    environment = os.environ | {"CI": ci}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    return done.returncode


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_an_unexpected_skip_fails_in_ci(tmp_path: Path, workers: list[str]) -> None:
    assert TESTS_FAILED == run_skipping(tmp_path, "no such luck", *workers)


def test_an_expected_skip_passes_in_ci(tmp_path: Path) -> None:
    assert 0 == run_skipping(tmp_path, "no NVIDIA GPU on this machine")


def test_an_unexpected_skip_passes_outside_ci(tmp_path: Path) -> None:
    assert 0 == run_skipping(tmp_path, "no such luck", ci="")
