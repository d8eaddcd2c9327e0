"""Does what is live take effect, does the rest wait, and is what is in force always valid?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.config.applying import (
    NODE,
    SCHEDULER,
    applies,
    in_force,
    is_for_admins,
    of_path,
    units,
)
from remuda.config.contradictions import contradictions
from remuda.config.schema import dotted
from remuda.config.settings import Settings

TIMERS = {
    "heartbeat_s": (0.1, 2.0, 5.0),
    "suspect_after_s": (1.0, 6.0, 12.0),
    "lost_after_s": (10.0, 60.0, 80.0),
    "lease_s": (15.0, 30.0),
    "offer_resend_s": (1.0, 5.0),
    "replace_after_s": (80.0, 90.0),
    "queued_tasks_max": (100, 2_000_000),
    "user_tasks_max": (100, 1_000_000),
}
timers = st.fixed_dictionaries({key: st.sampled_from(values) for key, values in TIMERS.items()})
valid = timers.map(lambda values: Settings.model_validate({"scheduler": values})).filter(
    lambda settings: not list(contradictions(settings))
)


@pytest.mark.parametrize(
    ("key", "words", "changeable"),
    [
        ("scheduler.lease", "live", True),
        ("scheduler.port", "restart of the scheduler and store", True),
        ("scheduler.state_dir", "restart of the scheduler, from files", False),
        ("node.name", "restart of the node, from files", False),
        ("node.labels.rack", "live", True),
        ("tasks.grace", "live", True),
        ("policies.memory.retries", "live", True),
        ("handlers.inpaint.vram", "live in the scheduler; restart of the node", True),
        ("store.quota", "live", True),
        ("store.url", "restart of the store, from files", False),
        ("client.poll", "new clients", False),
    ],
)
def test_each_setting_says_how_it_takes_effect(key, words, changeable) -> None:
    found = applies(key)
    assert (words, changeable) == (found.words, found.is_changeable)


def test_the_grace_of_tasks_is_for_both_and_their_environment_for_nodes() -> None:
    assert (SCHEDULER, NODE) == applies("tasks.grace").readers
    assert (NODE,) == applies("tasks.env").readers
    assert (SCHEDULER,) == applies("tasks.backoff_min").readers


def test_every_setting_has_a_reader() -> None:
    assert [] == [dotted(unit) for unit in units() if not of_path(unit).readers]


def test_what_runs_programs_or_opens_doors_is_for_admins() -> None:
    for_admins = ("gpus.trial", "handlers.x.target", "secrets.a.file", "tasks.env.LD_PRELOAD")
    assert [True] * 4 + [False] == [*map(is_for_admins, for_admins), is_for_admins("tasks.grace")]


def test_a_live_value_holds_at_once_and_another_waits() -> None:
    wanted = Settings.model_validate({"scheduler": {"lease_s": 20, "nodes_max": 7}})
    found = in_force(Settings(), wanted, SCHEDULER)
    assert (20.0, 1_000) == (found.settings.scheduler.lease_s, found.settings.scheduler.nodes_max)
    assert ("scheduler.nodes_max",) == found.waiting


def test_what_another_daemon_reads_waits_for_nothing_here() -> None:
    wanted = Settings.model_validate({"node": {"cpus": 2}, "scheduler": {"nodes_max": 7}})
    assert ("node.cpus",) == in_force(Settings(), wanted, NODE).waiting


def test_a_live_value_that_contradicts_what_runs_waits_with_it() -> None:
    wanted = Settings.model_validate({"scheduler": {"heartbeat_s": 0.1, "suspect_after_s": 1.0}})
    found = in_force(Settings(), wanted, SCHEDULER)
    assert ("scheduler.heartbeat", "scheduler.suspect_after") == found.waiting
    assert Settings() == found.settings


@given(running=valid, wanted=valid)
def test_what_is_in_force_contradicts_nothing_and_differs_only_by_what_waits(running, wanted):
    found = in_force(running, wanted, SCHEDULER)
    assert [] == list(contradictions(found.settings))
    for name in TIMERS:
        key = dotted(("scheduler", name))
        chosen = running if key in found.waiting else wanted
        assert getattr(chosen.scheduler, name) == getattr(found.settings.scheduler, name)
