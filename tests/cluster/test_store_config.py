"""Does a real store take what operators change, refuse what is wrong, and keep what it was told?"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.client.client import Client
from remuda.config.changes import Change
from remuda.config.store_config import read_said, said_file, told_file
from remuda.config.tuning import Told, write_told

from ..fakes.answering_scheduler import answering_scheduler
from ..fakes.raw import SMALL, wait_for
from ..fakes.store_daemon import source_of, store_daemon
from .command_line import CommandLine, stop, wait_until

pytestmark = pytest.mark.cluster

GIB = 1 << 30


class Desk(CommandLine):
    """Where an operator types, with a client beside; `own` is the file of the store alone."""

    client: Client
    own: Path
    as_made: str

    def standing(self) -> str:
        """Return how the store stands to the newest version."""
        return str(self.client.config.state()["store"]["state"])

    def wait_confirmed(self) -> None:
        wait_until(lambda: self.standing() == "confirmed", "the store has not confirmed")

    def state(self) -> dict[str, Any]:
        """Return what the store says of itself."""
        found: dict[str, Any] = self.json("store", "status")
        return found

    def shown(self, key: str) -> dict[str, Any]:
        (row,) = self.json("config", "show", key)
        found: dict[str, Any] = row
        return found

    def write(self, text: str) -> None:
        """Replace the file of the home, which scheduler and store read."""
        self.home.config_file.write_text(text)

    def write_own(self, text: str) -> None:
        """Add to the file that the store alone reads; it is stronger than changes."""
        self.own.write_text(self.as_made + text)

    def hang_up(self) -> None:
        os.kill(self.pid("store"), signal.SIGHUP)

    def log(self) -> list[dict[str, Any]]:
        """Return the lines that the store logged."""
        lines = self.home.log_file("store").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def has_waited_for(self, key: str) -> bool:
        """Tell whether the store logged that a setting waits for its restart."""
        return any(key in row.get("waiting", []) for row in self.log())

    def kill_store(self) -> None:
        """Kill the store, and wait until another one is there."""
        pid = self.pid("store")
        self.kill("store")
        wait_until(lambda: self.pid("store") not in (0, pid), "no store came back")
        wait_until(lambda: self("store", "status").returncode == 0, "the store does not answer")


@pytest.fixture(scope="module")
def remuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("stored"))
    made.env |= SMALL
    made.home.create()
    made.write("")
    process = made.cluster(1)
    made.own = made.home.run_dir / "store.toml"
    made.as_made = made.own.read_text()
    with Client(made.home.root) as made.client:
        made.wait_confirmed()
        yield made
    assert 0 == stop(process)
    assert [] == made.leftovers()


def test_a_change_is_confirmed_by_the_store_and_counts_at_once(remuda: Desk, tmp_path) -> None:
    done = remuda("config", "set", "store.quota", "3GiB", "store.max_object", "1MiB")
    assert (0, "") == (done.returncode, done.stderr)
    assert "store.quota: 100GiB -> 3GiB (live)" in done.stdout
    assert "confirmed by 1 node and the store\n" in done.stdout
    assert 3 * GIB == remuda.state()["quota_bytes"]
    assert ("3GiB", "changed") == (remuda.shown("store.quota")["value"],
                                   remuda.shown("store.quota")["layer"])  # fmt: skip
    newest = next(iter(remuda.client.config.history()))
    assert {"store.quota", "store.max_object"} == {each["key"] for each in newest["changed"]}
    file = tmp_path / "large"
    file.write_bytes(bytes((1 << 20) + 1))
    done = remuda("submit", "--file", str(file), "--", "true")
    assert 4 == done.returncode
    assert "the store takes at most 1MiB ([store] max_object)" in done.stderr
    assert 0 == remuda("config", "rollback").returncode
    assert 100 * GIB == remuda.state()["quota_bytes"]
    assert 0 == remuda("submit", "--file", str(file), "--wait", "--", "true").returncode


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("store.quota", "7", "store.quota: found 7; it must be at least"),
        ("store.kwota", "7GiB", "unknown key store.kwota: did you mean quota"),
        ("store.url", "s3://a/b", "the store reads it from files"),
    ],
)
def test_what_is_not_valid_changes_nothing_and_says_why(remuda: Desk, key, value, why) -> None:
    before = remuda.client.config.state()["version"], remuda.json("config", "show", "store")
    done = remuda("config", "set", key, value)
    assert (4, "") == (done.returncode, done.stdout)
    assert why in done.stderr
    assert before == (
        remuda.client.config.state()["version"],
        remuda.json("config", "show", "store"),
    )


def test_a_killed_store_goes_by_what_it_was_told_by_its_own_copy(remuda: Desk) -> None:
    assert 0 == remuda("config", "set", "store.quota", "5GiB").returncode
    told_file(remuda.home).unlink()
    remuda.kill_store()
    assert 5 * GIB == remuda.state()["quota_bytes"]
    assert "confirmed" == remuda.standing()


def test_a_store_that_cannot_answer_is_named_and_takes_the_change_when_it_can(remuda) -> None:
    pid = remuda.pid("store")
    os.kill(pid, signal.SIGSTOP)
    try:
        done = remuda("config", "set", "store.quota", "6GiB", "--wait", "1s")
        assert 124 == done.returncode
        assert "  the store: behind: it has not confirmed yet\n" in done.stdout
        assert "the store has not confirmed version" in remuda("status").stdout
        assert 0 == remuda("config", "set", "store.quota", "7GiB", "--no-wait").returncode
        assert "behind" == remuda.standing()
    finally:
        os.kill(pid, signal.SIGCONT)
    remuda.wait_confirmed()
    assert 7 * GIB == remuda.state()["quota_bytes"]


def test_a_store_that_is_away_is_not_waited_for_and_takes_the_change_at_its_start(remuda) -> None:
    remuda.write_own("\nnonsense = 1\n")  # so that none starts
    try:
        remuda.kill("store")
        wait_until(lambda: remuda.pid("store") == 0, "the store does not end")
        done = remuda("config", "set", "store.quota", "8GiB")
        assert 0 == done.returncode
        assert "  the store: away: it does not run; it goes by it when it starts\n" in done.stdout
        assert "away" == remuda.standing()
        assert "7GiB" == remuda.shown("store.quota")["value"]
    finally:
        remuda.write_own("")
    remuda.wait_confirmed()
    wait_until(lambda: remuda("store", "status").returncode == 0, "the store does not answer")
    assert 8 * GIB == remuda.state()["quota_bytes"]


def test_a_hangup_with_a_bad_file_changes_nothing_and_a_good_one_is_taken(remuda: Desk) -> None:
    before = remuda.json("config", "show", "store")
    remuda.write('[store]\nuser_quota = "much"\n')
    remuda.hang_up()
    wait_until(lambda: bool(remuda.state()["problem"]), "no word of the bad file")
    why = f"{remuda.home.config_file}:2: store.user_quota: found 'much'"
    assert why in remuda.state()["problem"]
    (told,) = (row for row in remuda.log() if row["event"].startswith("reload refused"))
    assert why in told["why"]
    assert before == remuda.json("config", "show", "store")
    remuda.write('[store]\nuser_quota = "2GiB"\n')
    remuda.hang_up()
    wait_until(lambda: not remuda.state()["problem"], "the trouble is not over")
    shown = remuda.shown("store.user_quota")
    assert ("2GiB", f"{remuda.home.config_file}:2") == (shown["value"], shown["origin"])


def test_a_reload_has_the_store_read_its_files_and_names_what_waits(remuda: Desk) -> None:
    remuda.write('[store]\nuser_quota = "4GiB"\nurl = "s3://bucket/prefix"\n')
    try:
        assert 1 == remuda("config", "diff").returncode
        done = remuda("config", "reload")
        assert (0, "") == (done.returncode, done.stderr)
        assert "  store.user_quota: 50GiB -> 4GiB (live)\n" in done.stdout
        late = "  store.url: (unset) -> s3://bucket/prefix (restart of the store, from files)\n"
        assert late in done.stdout
        assert ("4GiB", "store") == (
            remuda.shown("store.user_quota")["value"],
            remuda.shown("store.url")["restart"],
        )
        status = remuda("config", "status").stdout
        assert "  store.url waits for a restart of the store\n" in status
        assert remuda.has_waited_for("store.url")
        assert str(remuda.home.state_dir) in remuda.state()["where"]
    finally:
        remuda.write("")
        remuda("config", "reload")
    assert [] == remuda.client.config.state()["store"]["waiting"]


def test_a_store_whose_own_file_is_wrong_refuses_and_is_named_until_that_is_mended(remuda) -> None:
    remuda.write_own('\n[store]\nquota = "much"\n')
    try:
        done = remuda("config", "reload")
        assert 1 == done.returncode
        assert f"  the store: refused: {remuda.own}:" in done.stdout
        assert "the store refuses version" in remuda("status").stdout
        assert "the store: refused: " in remuda("config", "show", "store.quota").stderr
    finally:
        remuda.write_own("")
    remuda.hang_up()
    remuda.wait_confirmed()


def test_what_a_file_of_the_store_says_more_strongly_is_refused(remuda: Desk) -> None:
    remuda.write_own('\n[store]\npartial_keep = "1h"\n')
    try:
        assert 0 == remuda("config", "reload").returncode
        done = remuda("config", "set", "store.partial_keep", "2h")
        assert 4 == done.returncode
        assert f"store.partial_keep is set on the store by {remuda.own}:" in done.stderr
    finally:
        remuda.write_own("")
    assert 0 == remuda("config", "reload").returncode


def test_the_log_of_the_store_follows_its_level(remuda: Desk) -> None:
    assert 0 == remuda("config", "set", "logging.level", "warning").returncode
    quiet = len(remuda.log())
    assert 0 == remuda("config", "set", "store.quota", "9GiB").returncode
    assert quiet == len(remuda.log())
    assert 0 == remuda("config", "set", "logging.level", "info").returncode
    assert "configured" == remuda.log()[-1]["event"]


def test_new_times_of_the_collector_count_from_now_on(tmp_path: Path) -> None:
    with (
        store_daemon(tmp_path, '[store]\ncollect_every = "1d"\nunclaimed_keep = "1d"') as daemon,
        answering_scheduler(daemon.home),
    ):
        wait_for(lambda: daemon.state()["collected_ms"], "the first look for what may go")
        daemon.mover().put([source_of(b"kept for a day")])
        times = {"store.collect_every": Change("100ms"), "store.unclaimed_keep": Change("1s")}
        write_told(told_file(daemon.home), Told(times, version=2))
        wait_for(lambda: read_said(said_file(daemon.home)).config.version == 2, "the new times")
        daemon.mover().put([source_of(b"kept for a second")])
        wait_for(lambda: daemon.state()["removed"] == 1, "the end of an object")
        assert 1 == daemon.state()["objects"]
