"""What comes of changes to the configuration: what holds, what is refused, what is kept of them?"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.config.changes import Change
from remuda.config.problems import ConfigError
from remuda.config.settings import Settings
from remuda.protocol import messages as m
from remuda.protocol.errors import Conflict, Invalid, NotAllowed, NotFound, RemudaError
from remuda.scheduler import config_versions, configuration
from remuda.scheduler.assembly import core_settings
from remuda.scheduler.audit import first_broken_link
from remuda.scheduler.config_queries import compare, list_versions
from remuda.scheduler.records import Commit

from ...fakes.configured_world import ANA, OLIVER, ConfiguredWorld, Viewed


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ConfiguredWorld]:
    made = ConfiguredWorld(tmp_path)
    yield made
    made.close()


def lease_s(world: ConfiguredWorld) -> float:
    return world.core.settings.lease_ms / 1000


def audit(world: ConfiguredWorld) -> list[tuple[str, str, str]]:
    rows = world.journal._db.execute("SELECT principal, verb, subject FROM audit ORDER BY seq")
    return [tuple(row) for row in rows]


def test_the_first_start_is_version_1_and_another_start_is_none(world: ConfiguredWorld) -> None:
    world.start_again()
    newest = world.configuration.newest
    assert (1, "start", "scheduler") == (newest.number, newest.cause, newest.author)


def test_a_live_value_is_in_force_in_the_turn_that_makes_it_durable(world) -> None:
    answer = world.set(scheduler__lease="20s")
    assert 20.0 == lease_s(world)
    assert [{"node": "", "key": "scheduler.lease", "before": '"30s"', "after": '"20s"',
             "effect": "live"}] == answer["changed"]  # fmt: skip
    newest = world.journal.config.newest()
    assert newest is not None
    assert (2, "ana", "set") == (newest.number, newest.author, newest.cause)
    assert ("ana", "config set", "version 2: scheduler.lease") in audit(world)
    assert first_broken_link(world.journal._db) is None


def test_what_needs_a_restart_waits_and_says_so(world) -> None:
    answer = world.set(scheduler__nodes_max=7)
    assert ["scheduler.nodes_max"] == answer["waiting"]
    assert "restart of the scheduler" == answer["changed"][0]["effect"]
    assert (7, 1_000) == (
        world.configuration.loaded.settings.scheduler.nodes_max,
        world.configuration.running.scheduler.nodes_max,
    )
    world.start_again()
    assert ((), 7) == (
        world.configuration.waiting,
        world.configuration.running.scheduler.nodes_max,
    )


def test_changes_outlive_a_restart(world) -> None:
    world.set(scheduler__lease="20s")
    world.start_again()
    assert 20.0 == lease_s(world)
    assert "changed by ana in version 2" == str(
        world.configuration.loaded.origin("scheduler.lease")
    )


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            {"key": "scheduler.leese", "value": "1s"},
            "unknown key scheduler.leese: did you mean lease",
        ),
        ({"key": "scheduler.lease", "value": "soon"}, "scheduler.lease: found 'soon'"),
        ({"key": "scheduler.lease", "value": "1s"}, "lease must be at least 2 x heartbeat"),
        ({"key": "scheduler.offer_tries", "value": 1000}, "it must be at most 100"),
        ({"key": "scheduler.state_dir", "value": "/x"}, "write it to"),
        ({"key": "store.url", "value": "s3://b/p"}, "the store reads it from files"),
        ({"key": "client.poll", "value": "1s"}, "clients read it from files"),
        ({"key": "node.labels", "value": "{}"}, "an empty table changes nothing"),
        ({"key": "scheduler.lease"}, "nobody changed it"),
        ({"key": "scheduler.lease", "value": "20s", "node": "n1"}, "leave --node out"),
        ({"key": "node.cpus", "value": 2, "node": "n1"}, "there is no node n1"),
        ({"key": "redis.url", "value": "redis://:secret@host:1/0"}, "redis.password_file"),
    ],
)
def test_what_cannot_be_changed_so_is_refused_with_the_reason(world, edit, words) -> None:
    assert words in world.refusal("set", edits=[edit])


def test_values_that_only_fit_together_are_judged_together(world) -> None:
    assert "replace_after" in world.refusal(
        "set", edits=[{"key": "scheduler.lost_after", "value": "2m"}]
    )
    world.set(scheduler__lost_after="2m", scheduler__replace_after="3m")
    assert 120 == world.configuration.loaded.settings.scheduler.lost_after_s


def test_a_live_value_that_does_not_fit_what_runs_waits_with_the_other(world) -> None:
    answer = world.set(scheduler__lost_after="2m", scheduler__replace_after="3m")
    assert ["scheduler.lost_after", "scheduler.replace_after"] == sorted(answer["waiting"])
    assert 60 * 10**9 == world.core.settings.lost_after_ns


def test_what_the_environment_sets_is_refused_and_the_variable_named(tmp_path) -> None:
    world = ConfiguredWorld(tmp_path, {"REMUDA_SCHEDULER__LEASE": "25s"})
    why = world.refusal("set", edits=[{"key": "scheduler.lease", "value": "20s"}])
    assert "set by environment REMUDA_SCHEDULER__LEASE, which is stronger" in why
    world.close()


def test_operators_change_what_is_not_for_admins(world) -> None:
    world.set(OLIVER, scheduler__lease="20s")
    why = world.refusal("set", OLIVER, edits=[{"key": "gpus.trial", "value": "rm -rf /"}])
    assert "gpus.trial: only admins may change it" in why
    world.set(gpus__trial="true")
    with pytest.raises(NotAllowed, match=r"gpus.trial"):
        world.ask("rollback", OLIVER)


@pytest.mark.parametrize(
    ("key", "value"),
    [("node.run_as.oliver", "ana"), ("node.run_as_others", "agent"), ("node.run_as_socket", "/x")],
)
def test_as_whom_commands_run_is_for_admins(world, key, value) -> None:
    why = world.refusal("set", OLIVER, edits=[{"key": key, "value": value}])
    assert f"{key}: only admins may change it" in why


def test_a_rollback_brings_values_back_and_is_a_version_of_its_own(world) -> None:
    world.set(scheduler__lease="20s")
    world.set(scheduler__lease="25s", scheduler__offer_tries=2)
    answer = world.ask("rollback")
    assert (4, 20.0, 3) == (answer["version"], lease_s(world), world.core.settings.offer_tries)
    world.ask("rollback", to=1)
    assert (5, 30.0) == (world.configuration.newest.number, lease_s(world))
    assert "rollback to 1" == world.configuration.newest.cause


def test_a_rollback_takes_back_the_last_change_and_not_a_reload_that_found_none(world) -> None:
    world.set(scheduler__lease="20s")
    world.ask("reload")
    world.ask("reload")
    assert (5, 30.0) == (world.ask("rollback")["version"], lease_s(world))
    assert "rollback to 1" == world.configuration.newest.cause


def test_a_wrong_value_for_one_node_is_refused_without_who_asks(world) -> None:
    world.node("n1", cpus=8)
    edits = [{"key": "node.cpus", "value": "many", "node": "n1"}]
    assert world.refusal("set", edits=edits).startswith("node.cpus: found 'many'")


def test_what_nobody_changed_for_a_node_names_how_to_look_there(world) -> None:
    edits = [{"key": "node.cpus", "node": "n1"}]
    assert "`remuda config show --node n1 node.cpus`" in world.refusal("set", edits=edits)


def test_a_rollback_keeps_what_files_said_then_as_a_change(world) -> None:
    world.write('scheduler.lease = "20s"')
    world.ask("reload")
    world.write('scheduler.lease = "25s"')
    world.ask("reload")
    assert 25.0 == lease_s(world)
    world.ask("rollback", to=2)
    assert 20.0 == lease_s(world)
    assert "changed by ana" in str(world.configuration.loaded.origin("scheduler.lease"))


def test_more_than_a_version_can_hold_is_refused(world, monkeypatch) -> None:
    monkeypatch.setattr(configuration, "VERSION_BYTES_MAX", 2_000)
    edits = [{"key": f"tasks.env.V{n}", "value": "x" * 100} for n in range(20)]
    assert "bytes, allowed are 2000" in world.refusal("set", edits=edits)


def test_a_version_that_is_not_kept_is_refused_with_those_that_are(world) -> None:
    with pytest.raises(NotFound, match="kept are 1 to 1"):
        world.ask("rollback", to=9)


def test_a_reload_takes_up_files_and_a_bad_one_changes_nothing(world) -> None:
    world.write('scheduler.lease = "20s"')
    world.ask("reload")
    assert (20.0, 2, 1) == (
        lease_s(world),
        world.configuration.newest.number,
        world.configuration.newest.reloads,
    )
    world.write("[scheduler]\nlease = '1s'")
    assert "remuda.toml:2: scheduler.lease" in world.refusal("reload")
    world.write("scheduler = [")
    assert "is not TOML" in world.refusal("reload")


def test_a_file_that_says_what_an_operator_changed_is_told_to_have_no_effect(world) -> None:
    world.set(scheduler__lease="20s")
    world.write('scheduler.lease = "25s"')
    (note,) = world.ask("reload")["notes"]
    assert "remuda.toml:1 has no effect: it was changed by ana in version 2" in note
    assert 20.0 == lease_s(world)


def test_files_that_are_wrong_are_no_difference_but_refused(world) -> None:
    world.write("scheduler.leese = 2")
    view: Any = Viewed(world)
    with pytest.raises(Invalid, match=r"unknown key scheduler.leese") as caught:
        compare(view, m.CompareConfig("running", "file"), ANA, world.now)
    assert "invalid" == caught.value.code


def test_a_change_reads_no_file_that_was_edited_meanwhile(world) -> None:
    world.write("scheduler.offer_tries = 2")
    world.set(scheduler__lease="20s")
    assert 3 == world.core.settings.offer_tries


def test_of_two_operators_who_saw_the_same_version_one_is_refused(world) -> None:
    seen = world.configuration.newest.number
    edits = [{"key": "scheduler.lease", "value": "20s"}]
    world.ask("set", ANA, edits=edits, if_version=seen)
    with pytest.raises(Conflict, match="is at version 2 \\(set by ana\\), not 1"):
        world.ask("set", OLIVER, edits=edits, if_version=seen)


def test_a_request_that_is_sent_again_is_answered_and_not_done_again(world) -> None:
    key = b"k" * 16
    world.set(scheduler__lease="20s")
    first = world.ask("rollback", key=key)
    assert first == world.ask("rollback", key=key)
    world.start_again()
    again = world.ask("rollback", key=key)
    assert (first["version"], 3) == (again["version"], world.configuration.newest.number)


def test_a_dry_run_says_what_would_be_and_changes_nothing(world) -> None:
    answer = world.ask("set", edits=[{"key": "scheduler.lease", "value": "20s"}], dry_run=True)
    assert (True, "scheduler.lease") == (answer["dry_run"], answer["changed"][0]["key"])
    assert (1, 30.0) == (world.configuration.newest.number, lease_s(world))


def test_what_is_set_to_what_it_is_makes_no_version(world) -> None:
    world.set(scheduler__lease="20s")
    assert 2 == world.set(scheduler__lease="20s")["version"]
    assert 2 == world.configuration.newest.number


def test_a_start_whose_files_do_not_fit_the_changes_is_refused_with_the_way_out(world) -> None:
    world.set(scheduler__lease="16s")
    world.write('scheduler.heartbeat = "9s"\nscheduler.suspect_after = "19s"')
    with pytest.raises(ConfigError, match="start once with --drop-changes"):
        world.start_again()
    world.begin(drop_changes=True)
    assert (3, {}) == (world.configuration.newest.number, world.configuration.newest.changes)


def test_changes_of_a_newer_release_are_left_alone_and_kept(world) -> None:
    changes = {"": {"scheduler.of_tomorrow": Change(1, "ana", 0, 2)}}
    newer = replace(world.configuration.newest, number=2, changes=changes)
    world.journal.commit(Commit(config=[newer.to_row()]))
    world.start_again()
    assert ("scheduler.of_tomorrow",) == world.configuration.loaded.unknown
    world.set(scheduler__lease="20s")
    assert "scheduler.of_tomorrow" in world.configuration.newest.changes[""]


def test_only_the_newest_versions_are_kept(world, monkeypatch) -> None:
    monkeypatch.setattr(config_versions, "VERSIONS_KEPT", 3)
    for seconds in range(20, 26):
        world.set(scheduler__lease=f"{seconds}s")
    assert [7, 6, 5] == [each.number for each in world.journal.config.page(1 << 62, 10)]


def test_a_new_order_of_the_queue_keeps_every_task(world) -> None:
    tasks = world.submit(20)
    world.set(placement__order_window="0s", policies__memory__retries=7)
    world.node("n1", cpus=8)
    assert {"assigned", "queued"} >= set(world.states(tasks))
    assert 8 == world.states(tasks).count("assigned")


KEYS = {
    "scheduler.lease": ("20s", "30s", "40s", "1s"),
    "scheduler.offer_tries": (1, 2, 5, 0),
    "scheduler.nodes_max": (10, 1_000),
    "placement.policy": ("pack", "spread", "nowhere"),
    "redis.ttl": ("1h", "2h", "3h"),
}
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(sorted(KEYS)), st.integers(0, 3)),
        st.tuples(st.just("unset"), st.sampled_from(sorted(KEYS)), st.just(0)),
        st.tuples(st.just("file"), st.sampled_from(sorted(KEYS)), st.integers(0, 3)),
        st.tuples(st.just("reload"), st.just(""), st.just(0)),
        st.tuples(st.just("rollback"), st.just(""), st.integers(0, 9)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    max_size=8,
)


class Layers:
    """What the layers say, kept by a test: the file as it was read last, changes, environment."""

    def __init__(self) -> None:
        self.file: dict[str, object] = {}
        self.read: dict[str, object] = {}

    def text(self) -> str:
        return "\n".join(f"{key} = {value!r}" for key, value in self.file.items())


def shown(world: ConfiguredWorld, key: str) -> object:
    try:
        return world.configuration.loaded.get(key)
    except NotFound:
        return None


@settings(max_examples=20, deadline=None)
@given(steps)
def test_after_any_changes_what_holds_is_what_the_layers_say(tmp_path_factory, done):
    folder = tmp_path_factory.mktemp("world")
    world = ConfiguredWorld(folder, {"REMUDA_SCHEDULER__OFFER_TRIES": "4"})
    layers, past = Layers(), {1: {key: shown(world, key) for key in KEYS}}
    for verb, key, number in done:
        value = KEYS[key][number % len(KEYS[key])] if key else None
        before = world.configuration.newest
        try:
            if verb == "set":
                world.ask("set", edits=[{"key": key, "value": value}])
            elif verb == "unset":
                world.unset(key)
            elif verb == "file":
                layers.file[key] = value
                world.write(layers.text())
            elif verb == "rollback":
                target = 1 + number % before.number
                world.ask("rollback", to=target)
                for each in KEYS:
                    assert past[target][each] == shown(world, each), each
            elif verb == "reload":
                world.ask("reload")
                layers.read = dict(layers.file)
            else:
                world.start_again()
                layers.read = dict(layers.file)
        except RemudaError:
            assert before == world.configuration.newest
            if verb == "restart":
                break
        past[world.configuration.newest.number] = {key: shown(world, key) for key in KEYS}
        _check(world, layers)
    world.close()
    shutil.rmtree(folder)


def _check(world: ConfiguredWorld, layers: Layers) -> None:
    """Compare what holds with a second reading of all layers, the strongest last."""
    changed = {
        key: each.value for key, each in world.configuration.newest.changes.get("", {}).items()
    }
    said = {**layers.read, **changed, "scheduler.offer_tries": 4}
    plain: dict[str, dict[str, object]] = {}
    for key, value in said.items():
        table, *rest = key.split(".")
        name = {"lease": "lease_s", "ttl": "ttl_s"}.get(rest[0], rest[0])
        plain.setdefault(table, {})[name] = value
    expected = Settings.model_validate(plain)
    assert expected == world.configuration.loaded.settings
    assert core_settings(world.configuration.running) == world.core.settings
    kept = world.journal.config.newest()
    assert kept is not None
    assert world.configuration.newest.changes == kept.changes


def test_there_is_nothing_before_the_first_version_to_go_back_to(world) -> None:
    assert "version 1 is the first" in world.refusal("rollback")


def test_a_cursor_of_no_page_is_refused_and_begins_no_list(world) -> None:
    with pytest.raises(Invalid, match="cursor: found 'zz'"):
        list_versions(Viewed(world), m.ListConfigVersions(5, "zz"), ANA, world.now)
