"""Is the store told what to go by, does its word count, and what do versions say of its files?"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from remuda.config.changes import Change
from remuda.config.home import Home
from remuda.config.store_config import Said, said_file, told_file
from remuda.config.tuning import Told, read_told
from remuda.protocol.configured import NodeConfig
from remuda.protocol.errors import Refused
from remuda.protocol.messages import ShowConfig
from remuda.scheduler.config_change import snapshot
from remuda.scheduler.config_queries import show_config
from remuda.scheduler.config_versions import Version
from remuda.scheduler.records import Commit
from remuda.scheduler.store_tuning import StoreTuning, state_of

from ...fakes.configured_world import ANA, ConfiguredWorld, Viewed

WANTED = Told({"store.quota": Change("1GiB", "ana", 5, 2)}, version=2)
ROOT = Path("/nowhere")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ConfiguredWorld]:
    made = ConfiguredWorld(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("said", "runs", "word"),
    [
        (None, False, "away"),
        (None, True, "cannot"),
        (Said(ROOT, b"other"), False, "away"),
        (Said(ROOT, b"other"), True, "behind"),
        (Said(ROOT, b"other", NodeConfig(refused=WANTED.digest, why="no")), True, "refused"),
        (Said(ROOT, b"other", NodeConfig(refused=b"older", why="no")), True, "behind"),
        (Said(ROOT, WANTED.digest), True, "confirmed"),
        (Said(ROOT, WANTED.digest), False, "confirmed"),
    ],
)
def test_a_store_stands_to_a_change_as_it_says_itself(said, runs, word) -> None:
    assert word == state_of(WANTED, said, runs=runs).word


def test_a_store_that_is_to_go_by_nothing_has_nothing_to_say(tmp_path: Path) -> None:
    assert "confirmed" == state_of(Told(), None, runs=False).word


def test_a_word_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    troubles: list[str] = []
    home = Home(tmp_path)
    tuning = StoreTuning(home, lambda _what, about: troubles.append(about))
    changes = {"": {"store.quota": Change("1GiB", "ana", 5, 2), "node.cpus": Change(2)}}
    tuning.want(Version(2, 5, "ana", "set", changes=changes))
    assert [f"{told_file(home)}: No such file or directory"] == troubles
    home.create()
    tuning.tell()
    assert WANTED == read_told(told_file(home))


def test_a_report_that_cannot_be_read_is_told_and_is_none(tmp_path: Path) -> None:
    troubles: list[str] = []
    home = Home(tmp_path)
    home.create()
    said_file(home).write_text("[]")
    tuning = StoreTuning(home, lambda _what, about: troubles.append(about))
    assert tuning.said() is None
    assert [f"{said_file(home)}: cannot be read: restart the store, which writes it"] == troubles


def test_what_the_store_says_it_holds_is_what_is_shown(world) -> None:
    world.set(store__quota="1GiB")
    world.store_says('store.user_quota = "7GiB"')
    entries = show_config(Viewed(world), ShowConfig("store"), ANA, world.now).body["entries"]
    found = {each["key"]: (each["value"], each["layer"]) for each in entries}
    assert ("1GiB", "changed") == found["store.quota"]
    assert ("7GiB", "file") == found["store.user_quota"]
    assert ("10GiB", "defaults") == found["store.max_object"]


def test_what_the_store_sets_more_strongly_is_refused_where_nobody_else_reads_it(world) -> None:
    world.store_says('store.quota = "7GiB"\nlogging.level = "error"')
    with pytest.raises(Refused, match=r"store.quota is set on the store by .*own.toml:1, which"):
        world.set(store__quota="1GiB")
    (note,) = world.set(logging__level="warning")["notes"]
    assert "logging.level has no effect on the store: it is set by" in note


def test_a_reload_names_what_files_say_anew_of_the_store(world) -> None:
    world.write('store.quota = "1GiB"')
    answer = world.ask("reload")
    assert [("store.quota", '"100GiB"', '"1GiB"', "live")] == [
        (each["key"], each["before"], each["after"], each["effect"]) for each in answer["changed"]
    ]
    world.ask("rollback")
    assert "100GiB" == world.store_side.tuning.wanted.changes["store.quota"].value


def test_a_version_of_an_older_release_says_nothing_of_the_files_of_the_store(world) -> None:
    world.write('store.quota = "1GiB"\nscheduler.lease = "20s"')
    world.ask("reload")
    loaded, newest = world.configuration.loaded, world.configuration.newest
    older = replace(
        newest,
        number=3,
        values=snapshot(loaded, {}, ["scheduler"]),
        readers=["scheduler"],
        request_key=b"",
    )
    world.journal.commit(Commit(config=[older.to_row()]))
    world.start_again()
    assert 3 == world.configuration.newest.number  # nothing differs
    world.set(scheduler__lease="25s")
    assert ["scheduler.lease"] == [each["key"] for each in world.ask("rollback")["changed"]]
    assert {} == world.store_side.tuning.wanted.changes
