"""Does the audit of a real scheduler name whoever changed something, whatever he asked for?"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from remuda.client import auditing
from remuda.client.client import Client
from remuda.protocol import capabilities as wire_capabilities
from remuda.protocol import messages as m
from remuda.protocol.chain import Link, follow
from remuda.scheduler.access import CONTROL

from ..fakes.raw import RawScheduler, raw_scheduler, wait_for
from .command_line import CommandLine, admit, stop

pytestmark = pytest.mark.cluster

# Every request is in one of the two: whoever adds one has to say whether it changes something.
READS = {
    "Watch", "States", "Resolve", "ListTasks", "ShowTask", "Explain", "ListNodes", "Status",
    "ShowConfig", "ShowBatch", "ListBatches", "ListGpus", "ListStats", "Events", "ListKeys",
    "Logs", "FindStore", "TaskObjects", "References", "ListAudit", "ShowRecovery",
    "ListConfigVersions", "CompareConfig", "ConfigState", "ListHandlers", "ExportTasks",
}  # fmt: skip
QUICK = """
[scheduler]
heartbeat = "0.1s"
suspect_after = "0.3s"
lost_after = "1s"
lease = "1s"
offer_resend = "0.2s"
"""
GPU = "GPU-00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawScheduler]:
    with raw_scheduler(tmp_path_factory.mktemp("audit")) as running:
        yield running


def rows_of(scheduler: RawScheduler) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        body = scheduler.client("oscar").ask(m.ListAudit(after=after, limit=1000)).body
        found += body["rows"]
        after = body["next"]
        if not after:
            return found


def register(scheduler: RawScheduler, name: str = "n2", boot: str = "boot") -> Any:
    known = wire_capabilities.Capabilities(
        4_000, 8 << 30, gpus=(wire_capabilities.Gpu(GPU, "card", 8 << 30),)
    )
    document = wire_capabilities.to_document(known)
    frame = m.Register(name, secrets.token_bytes(16), boot, 1, 5, document, [], [], [], [])
    return scheduler.client(name).ask(frame)


def submitted(scheduler: RawScheduler) -> bytes:
    return bytes(scheduler.client("alice").submit().tasks[0])


def ended(scheduler: RawScheduler) -> bytes:
    task = submitted(scheduler)
    scheduler.client("alice").ask(m.Cancel([task], []))
    return task


def public(scheduler: RawScheduler) -> str:
    from remuda.config.keys import generate

    return generate().public


# What changes something: who asks for what, and the verb of the row that says so.
CHANGES: dict[str, tuple[str, str, Callable[[RawScheduler], m.Message]]] = {
    "Submit": ("alice", "submit", lambda _: m.Submit(
        secrets.token_bytes(16), b"", [{"kind": "command", "argv": ["true"]}], [0], [b""])),
    "Cancel": ("alice", "cancel", lambda s: m.Cancel([submitted(s)], [])),
    "Retry": ("alice", "submit", lambda s: m.Retry(secrets.token_bytes(16), b"", [ended(s)], [])),
    "Prune": ("alice", "prune", lambda s: m.Prune([ended(s)], {})),
    "Register": ("n2", "register", lambda _: None),  # type: ignore[dict-item,return-value]  # see `ask`
    "Drain": ("oscar", "node drain", lambda _: m.Drain("n2", "fans")),
    "Undrain": ("oscar", "node undrain", lambda _: m.Undrain("n2")),
    "CordonGpu": ("oscar", "gpu cordon", lambda _: m.CordonGpu(GPU, "hot")),
    "UncordonGpu": ("oscar", "gpu uncordon", lambda _: m.UncordonGpu(GPU)),
    "AllowKey": ("root", "key allow", lambda s: m.AllowKey("new", "viewer", public(s))),
    "RevokeKey": ("root", "key revoke", lambda _: m.RevokeKey("new")),
    "Invite": ("root", "key invite", lambda s: m.Invite("guest", "viewer", public(s), 60_000)),
}  # fmt: skip
ELSEWHERE = {
    "ChangeConfig": "the tests of the configuration: it takes settings that hold",
    "AskTask": "test_reach.py: it takes a task that runs",
    "DeclareLost": "below: it takes a node that is silent",
    "ForgetNode": "below: it takes a node that is silent",
    "SwitchHandler": "test_handlers.py: it takes a node that has a handler",
    "ReloadHandler": "test_handlers.py: it takes a node that has a handler",
    "DecideRecovery": "test_recovery.py: it takes a restored journal",
    "Enrol": "test_invited_keys.py: it takes the key of an invitation",
}


def test_every_request_is_known_to_change_something_or_not() -> None:
    names = {kind.__name__ for kind in CONTROL}
    assert names == READS | CHANGES.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("name", CHANGES)
def test_a_request_that_changes_something_has_a_row_with_its_author(
    scheduler: RawScheduler, name: str
) -> None:
    who, verb, make = CHANGES[name]
    if name in ("Drain", "Undrain", "CordonGpu", "UncordonGpu", "Register"):
        answer = register(scheduler)
        assert isinstance(answer, m.Registered), answer
    if name != "Register":
        message = make(scheduler)
        before = len(rows_of(scheduler))
        answer = scheduler.client(who).ask(message)
        assert not isinstance(answer, m.Failure), answer
        new = rows_of(scheduler)[before:]
    else:
        new = rows_of(scheduler)
    assert (who, verb) in [(row["principal"], row["verb"]) for row in new]


def test_who_gives_a_silent_node_up_has_a_row(tmp_path: Path) -> None:
    with raw_scheduler(tmp_path, QUICK) as scheduler:
        scheduler.node("n1").register()
        operator = scheduler.client("oscar")

        def is_done(message: m.Message) -> bool:
            return isinstance(operator.ask(message), m.Done)

        for message in (m.DeclareLost("n1"), m.ForgetNode("n1")):
            wait_for(partial(is_done, message), "n1 is given up")
        found = [(row["principal"], row["verb"]) for row in rows_of(scheduler)]
        assert [("oscar", "node lost"), ("oscar", "node forget")] == found[-2:]


def test_who_asks_for_what_he_may_not_do_is_named_once_a_minute(scheduler: RawScheduler) -> None:
    vera = scheduler.client("vera")
    answers = [vera.ask(m.Drain("n1")) for _ in range(3)]
    assert ["not_allowed"] * 3 == [answer.code for answer in answers]
    refused = [row for row in rows_of(scheduler) if row["principal"] == "vera"]
    assert [("refused", "drain nodes")] == [(row["verb"], row["subject"]) for row in refused]


def test_what_is_refused_for_what_it_says_changes_nothing_and_has_no_row(
    scheduler: RawScheduler,
) -> None:
    before = len(rows_of(scheduler))
    assert "not_found" == scheduler.client("oscar").ask(m.Drain("nowhere")).code
    assert before == len(rows_of(scheduler))


def test_the_chain_can_be_followed_from_outside(scheduler: RawScheduler) -> None:
    last = Link(0, b"")
    for row in rows_of(scheduler):
        last, wrong = follow(last, row)
        assert "" == wrong
    head = scheduler.client("root").ask(m.ListAudit()).body["head"]
    assert list(last) == head


@pytest.mark.parametrize("who", ["vera", "alice", "n1"])
def test_only_operators_read_it(scheduler: RawScheduler, who: str) -> None:
    assert "not_allowed" == scheduler.client(who).ask(m.ListAudit()).code


# --- the command ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    made = CommandLine(tmp_path_factory.mktemp("audited"))
    process = made.cluster(1)
    yield made
    stop(process)
    made("down")
    assert [] == made.leftovers()


def test_the_command_shows_follows_and_verifies_and_finds_what_was_changed(
    owner: CommandLine,
) -> None:
    admit(owner, "vera", "viewer")
    assert 0 == owner("node", "drain", "node-1", "--reason", "new fans").returncode
    shown = owner("audit", "--verb", "node ").stdout
    assert "node drain" in shown
    assert "node-1: new fans" in shown
    (row,) = owner.json("audit", "--verb", "node drain")
    assert ("node drain", "node-1: new fans", 64) == (row["verb"], row["subject"], len(row["hash"]))
    verified = owner("audit", "--verify")
    assert 0 == verified.returncode
    head = verified.stdout.split()[-1]
    assert 0 == owner("audit", "--verify", "--expect", head).returncode
    exported = owner.folder / "audit.jsonl"
    assert 0 == owner("audit", "--export", str(exported)).returncode
    assert 0 == owner("audit", "--verify", "--file", str(exported), "--expect", head).returncode
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    lines[2]["principal"] = "mallory"
    exported.write_text("".join(json.dumps(line) + "\n" for line in lines))
    broken = owner("audit", "--verify", "--file", str(exported))
    assert (1, "row 3 was altered, or a row before it\n") == (broken.returncode, broken.stdout)


def test_a_chain_that_was_made_anew_as_a_whole_is_found_by_a_pin(owner: CommandLine) -> None:
    with Client(owner.home.root) as client:
        rows = list(auditing.all_rows(client.link, {}))
    pin = auditing.pin_of(Link(rows[1]["seq"], rows[1]["hash"]))
    assert auditing.verify_rows(rows, Link(0, b""), None, pin).is_sound
    forged, last = [], Link(0, b"")
    for row in rows:
        new = {**row, "principal": "nobody"}
        last = Link(row["seq"], follow_hash(last, new))
        forged.append({**new, "hash": last.hash})
    verdict = auditing.verify_rows(forged, Link(0, b""), None, pin)
    assert ([], False, False) == (verdict.breaks, verdict.is_pin_found, verdict.is_sound)


def follow_hash(last: Link, row: dict[str, Any]) -> bytes:
    from remuda.protocol.chain import link

    return link(last.hash, row["seq"], row["at_ms"], row["principal"], row["verb"], row["subject"])
