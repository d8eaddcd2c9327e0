"""Does a host or a user become a member by one line, whatever comes between?"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.cli import ports
from remuda.config.invitation import from_line, to_line
from remuda.config.keys import generate, load_identity
from remuda.protocol import messages as m

from ..fakes import dying, halting
from ..fakes.raw import RawScheduler, raw_scheduler, wait_for
from .command_line import DEADLINE_S
from .newcomers import LAB, Host, invite, keys_of, only_control

pytestmark = pytest.mark.cluster


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    yield made
    made.close()


# --- who is let in ------------------------------------------------------------------------------


def test_a_host_joins_by_one_line_and_starts_again_with_it(
    scheduler: RawScheduler, host: Host
) -> None:
    line = to_line(invite(scheduler, "node", "gpu-7"))
    first = host.start("--join", line)
    root = scheduler.client("root")
    states = lambda: {row["name"]: row["state"] for row in root.ask(m.ListNodes()).rows}
    wait_for(lambda: states().get("gpu-7") == "ready", "the node")
    wait_for(lambda: '"registered"' in host.log(), "its own word on it")
    key = host.home / "keys" / "node-gpu-7.key"
    assert [key.name] == [path.name for path in key.parent.iterdir()]
    assert 0o600 == key.stat().st_mode & 0o777
    assert scheduler.endpoints.scheduler_public == load_identity(key).scheduler_public
    first.send_signal(signal.SIGTERM)
    first.wait(DEADLINE_S)
    before = key.read_bytes()
    host.start(line=line)
    wait_for(lambda: host.log().count('"registered"') == 2, "the node, started again")
    assert before == key.read_bytes()
    assert 0 == host.node("--check").returncode


def test_a_user_logs_in_by_one_line_and_again(scheduler: RawScheduler, host: Host) -> None:
    line = to_line(invite(scheduler, "submit", "anna"))
    first, again = host.remuda("login", line), host.remuda("login", "-", text=line + "\n")
    assert (0, 0) == (first.returncode, again.returncode), first.stderr + again.stderr
    assert first.stdout == again.stdout
    assert "logged in to lab" in first.stdout
    assert "as anna, role submit" in first.stdout
    assert 0 == host.remuda("status").returncode
    assert "submit allowed" == keys_of(scheduler)["anna"]


def test_a_newcomer_without_a_name_in_its_line_chooses_one_that_is_new(
    scheduler: RawScheduler, host: Host
) -> None:
    line = to_line(invite(scheduler, "viewer"))
    taken = host.remuda("login", line, "--name", "alice")
    assert 1 == taken.returncode
    assert "the name alice was given before" in taken.stderr
    assert 0 == host.remuda("login", line, "--name", "walter").returncode
    assert "viewer allowed" == keys_of(scheduler)["walter"]


def test_clusters_stand_side_by_side(scheduler: RawScheduler, host: Host, tmp_path: Path) -> None:
    with raw_scheduler(tmp_path / "farm", LAB.replace("lab", "farm")) as farm:
        for each in (scheduler, farm):
            line = to_line(invite(each, "operator", "otto"))
            assert 0 == host.remuda("login", line).returncode
        shown = lambda: host.remuda("status").stdout.split()[0]
        assert "lab" == shown()
        assert 0 == host.remuda("cluster", "use", "farm").returncode
        assert "farm" == shown()
        listed = host.remuda("cluster", "list").stdout.splitlines()[1:]
        assert [["*", "farm"], ["lab", "tcp://127.0.0.1"]] == [
            [words[0], words[1].rpartition(":")[0] if ":" in words[1] else words[1]]
            for words in map(str.split, listed)
        ]
        assert "lab" == host.remuda("--cluster", "lab", "status").stdout.split()[0]
        assert 0 == host.remuda("cluster", "forget", "farm").returncode
        assert 3 == host.remuda("--cluster", "farm", "status").returncode


def test_whose_key_was_revoked_comes_back_by_another_line(
    scheduler: RawScheduler, host: Host
) -> None:
    assert 0 == host.remuda("login", to_line(invite(scheduler, "submit", "rita"))).returncode
    scheduler.client("root").ask(m.RevokeKey("rita"))
    assert 0 != host.remuda("status").returncode
    assert 0 == host.remuda("login", to_line(invite(scheduler, "operator", "rita"))).returncode
    assert 0 == host.remuda("status").returncode
    assert "operator allowed" == keys_of(scheduler)["rita"]


def test_a_node_that_is_in_runs_whatever_line_was_left_in_its_environment(
    scheduler: RawScheduler, host: Host
) -> None:
    host.start("--join", to_line(invite(scheduler, "node", "gpu-m")))
    wait_for(lambda: (host.home / "keys" / "node-gpu-m.key").exists(), "its key")
    host.close()
    forgotten = dataclasses.replace(invite(scheduler, "node"), secret=generate().secret)
    host.env["REMUDA_NODE__NAME"] = "gpu-m"
    before = host.log().count('"registered"')
    host.start(line=to_line(forgotten))
    wait_for(lambda: host.log().count('"registered"') > before, "the node")
    assert "starting with the key that is here: the scheduler knows nothing of" in host.log()


def test_a_check_says_what_a_line_is_worth_and_leaves_it_good(
    scheduler: RawScheduler, host: Host
) -> None:
    line = to_line(invite(scheduler, "node", "gpu-c"))
    good = host.node("--check", "--join", line)
    assert (0, True) == (good.returncode, "is reached, and this line is known there" in good.stdout)
    assert "node invited" == keys_of(scheduler)["gpu-c"]
    forged = dataclasses.replace(from_line(line), secret=generate().secret)
    bad = host.node("--check", "--join", to_line(forged), "--json")
    verdicts = {each["topic"]: each["level"] for each in json.loads(bad.stdout)}
    assert (1, "serious") == (bad.returncode, verdicts["cluster"])


# --- time ---------------------------------------------------------------------------------------


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[RawScheduler]:
    """Run a scheduler whose clock the test sets."""
    with raw_scheduler(tmp_path / "clocked", LAB, halting.PROGRAM) as running:
        yield running


def test_a_line_expires_and_says_when(clocked: RawScheduler, host: Host) -> None:
    line = to_line(invite(clocked, "submit", "anna", valid_ms=900_000))
    halting.set_wall_clock(clocked.home.root, 900 + 185)
    done = host.remuda("login", line)
    assert 4 == done.returncode
    assert "this line expired 3 minutes ago" in done.stderr
    assert "anna" not in keys_of(clocked)


def test_a_host_whose_clock_is_wrong_joins_once_it_is_set(
    clocked: RawScheduler, host: Host
) -> None:
    line = to_line(invite(clocked, "node", "gpu-7"))
    halting.set_wall_clock(clocked.home.root, -120)
    refused = host.node("--join", line)
    assert 1 == refused.returncode
    assert "serious  clock" in refused.stderr
    assert "clock is 120 s ahead of the scheduler's" in refused.stderr
    assert "the same line is good for another try on this host" in refused.stderr
    assert [] == clocked.client("root").ask(m.ListNodes()).rows
    halting.set_wall_clock(clocked.home.root, -10)
    host.start("--join", line)
    root = clocked.client("root")
    notes = lambda: str([row["notes"] for row in root.ask(m.ListNodes()).rows])
    wait_for(lambda: "clock is 10 s ahead of the scheduler's" in notes(), "its alarm")


# --- ports --------------------------------------------------------------------------------------


def test_a_firewall_that_opens_the_control_port_alone_stops_the_join_with_the_ports_to_open(
    scheduler: RawScheduler, host: Host
) -> None:
    invitation = invite(scheduler, "node", "gpu-f")
    with only_control(scheduler, "127.0.0.3") as endpoint:
        line = to_line(dataclasses.replace(invitation, endpoint=endpoint))
        done = host.node("--join", line)
    assert 1 == done.returncode, done.stderr
    found = scheduler.endpoints
    for channel in ("uplink", "heartbeat", "beacon"):
        assert f"{channel} {getattr(found, channel)} (refused)" in done.stderr
    assert "let TCP through from this host to 127.0.0.3, ports " in done.stderr
    assert "gpu-f" not in [row["name"] for row in scheduler.client("root").ask(m.ListNodes()).rows]


# --- crashes ------------------------------------------------------------------------------------


def test_a_scheduler_killed_between_admission_and_answer_lets_the_same_host_in(
    tmp_path: Path, host: Host
) -> None:
    port = ports.free_control_port("127.0.0.1", 2, random.SystemRandom())
    scheduler = RawScheduler(tmp_path / "mortal", LAB, dying.PROGRAM, port=port)
    try:
        scheduler.start()
        line = to_line(invite(scheduler, "node", "gpu-7"))
        dying.die_after_admission(scheduler.home.root)
        host.start("--join", line)
        assert scheduler.process is not None
        assert -signal.SIGKILL == scheduler.process.wait(DEADLINE_S)
        scheduler.start()
        wait_for(lambda: '"registered"' in host.log(), "the node")
        assert "node allowed" == keys_of(scheduler)["gpu-7"]
        stranger = Host(tmp_path / "stranger").node("--join", line)
        assert (4, True) == (stranger.returncode, "was used already" in stranger.stderr)
    finally:
        scheduler.close()


def test_a_host_killed_between_admission_and_its_file_is_let_in_again(
    scheduler: RawScheduler, host: Host
) -> None:
    invitation = invite(scheduler, "node", "gpu-k")
    with only_control(scheduler, "127.0.0.4") as endpoint:  # its ports keep it from its file
        line = to_line(dataclasses.replace(invitation, endpoint=endpoint))
        agent = host.start("--join", line)
        wait_for(lambda: keys_of(scheduler)["gpu-k"] == "node allowed", "its admission")
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait(DEADLINE_S)
    keys = host.home / "keys"
    assert [".node-gpu-k.key.joining"] == [path.name for path in keys.iterdir()]
    host.start("--join", to_line(invitation))
    wait_for(lambda: '"registered"' in host.log(), "the node")
    assert ["node-gpu-k.key"] == [path.name for path in keys.iterdir()]
