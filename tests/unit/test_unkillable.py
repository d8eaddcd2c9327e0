"""When does a runner say that what it killed lives on, and of whom does it speak?"""

from __future__ import annotations

import math
import os
import subprocess
from types import SimpleNamespace
from typing import Any

from remuda.node.runner.hands import OWN
from remuda.node.runner.unkillable import Unkillable, living
from remuda.worker import frames

KEY = frames.join_key(b"t" * 16, 3)


def scene(**ending: Any) -> tuple[Unkillable, list[frames.Stuck], Any]:
    """Play a runner whose command is being killed since second 100."""
    occupant = SimpleNamespace(
        ending=SimpleNamespace(**{"killing_since": 100.0, **ending}),
        held=lambda: [(KEY, True)],
        hands=OWN,
    )
    slot: Any = SimpleNamespace(occupant=occupant, worker=None)
    limits: Any = SimpleNamespace(unkillable_after_s=60.0)
    said: list[frames.Stuck] = []
    return Unkillable(slot, limits, said.append), said, SimpleNamespace(slot=slot, limits=limits)


def test_nothing_is_said_before_its_time() -> None:
    watch, said, _ = scene()
    watch.on_time(159.9)
    assert ([], 160.0) == (said, watch.deadline())


def test_what_lives_on_is_named_and_named_again() -> None:
    watch, said, _ = scene()
    watch.on_time(161.0)
    watch.on_time(162.0)
    assert [(b"t" * 16, 3, 61.0)] == [(one.task, one.attempt, one.since_s) for one in said]
    watch.on_time(221.0)
    assert 2 == len(said)


def test_another_agent_hears_of_it_at_once() -> None:
    watch, said, _ = scene()
    watch.on_time(161.0)
    watch.forget()
    watch.on_time(162.0)
    assert 2 == len(said)


def test_an_agent_that_did_not_ask_hears_nothing() -> None:
    watch, said, parts = scene()
    parts.limits.unkillable_after_s = 0.0
    watch.on_time(1_000.0)
    assert ([], math.inf) == (said, watch.deadline())


def test_nothing_is_said_while_the_grace_lasts_or_nothing_ends() -> None:
    watch, _, parts = scene(killing_since=math.inf)
    assert math.inf == watch.deadline()
    parts.slot.occupant = None
    assert math.inf == watch.deadline()


def test_the_living_are_shown_with_state_and_name_and_the_dead_are_not() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child, subprocess.Popen(["true"]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # a zombie from now on
        rows = {row[0]: row[2] for row in living(os.getpid())}
        child.kill()
    assert "sleep" == rows[child.pid]
    assert dead.pid not in rows
