"""Does a process that moves bulk take less of the CPU, in its session as well?"""

import subprocess
import sys

import pytest

from remuda.config.giving_way import AUTOGROUP, BULK_NICE

SHOW = (
    "import os; from remuda.config.giving_way import AUTOGROUP, give_way; give_way();"
    "print(os.nice(0), *(AUTOGROUP.read_text().split()[-1:] if AUTOGROUP.exists() else []))"
)


def niceness(*, own_session: bool) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, check=True,
        start_new_session=own_session,
    )  # fmt: skip
    return done.stdout.split()


def test_a_process_gives_way_and_so_does_a_session_of_its_own() -> None:
    if not AUTOGROUP.exists():
        pytest.skip("no autogroups in this kernel")
    assert [str(BULK_NICE)] * 2 == niceness(own_session=True)


def test_a_session_that_is_not_its_own_keeps_its_share() -> None:
    before = AUTOGROUP.read_text() if AUTOGROUP.exists() else ""
    assert str(BULK_NICE) == niceness(own_session=False)[0]
    assert before == (AUTOGROUP.read_text() if AUTOGROUP.exists() else "")


def test_what_the_kernel_does_not_allow_stays_as_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import remuda.config.giving_way as g, pathlib;"
         "g.AUTOGROUP = pathlib.Path('/nowhere/x'); g.give_way(); print('goes on')"],
        capture_output=True, text=True, check=True, start_new_session=True,
    )  # fmt: skip
    assert "goes on" == done.stdout.strip()
