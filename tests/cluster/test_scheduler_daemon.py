"""Does the scheduler daemon serve clients and nodes, also over its own restarts?"""

import contextlib
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from remuda.protocol import codec, ids
from remuda.protocol import messages as m

from ..fakes.raw import RawClient, RawNode, RawScheduler, raw_scheduler, wait_for

pytestmark = pytest.mark.cluster
QUICK = """
[scheduler]
heartbeat = "0.2s"
suspect_after = "0.6s"
lost_after = "2s"
lease = "1.5s"
offer_resend = "0.4s"
"""


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[RawScheduler]:
    with raw_scheduler(tmp_path) as running:
        yield running


def state_of(client: RawClient, task: bytes) -> str:
    state: str = client.ask(m.States([task])).states[0]
    return state


def wait_state(client: RawClient, task: bytes, state: str) -> None:
    wait_for(lambda: state_of(client, task) == state, f"the state {state}")


def run_one(client: RawClient, node: RawNode, **details: Any) -> bytes:
    """Submit one task, let the node end it and return its id."""
    (task,) = client.submit().tasks
    node.finish(node.hear(m.Offer), details=codec.pack_document(details))
    wait_state(client, task, "succeeded")
    return bytes(task)


def test_a_task_goes_from_a_client_over_a_node_back_to_its_watcher(
    scheduler: RawScheduler,
) -> None:
    alice, node, session = scheduler.client("alice"), scheduler.node("n1"), secrets.token_bytes(16)
    node.register()
    cursor = alice.ask(m.States([], session))
    (task,) = alice.submit(session=session, args=[b"in"]).tasks
    offer = node.hear(m.Offer)
    assert [b"in"] == offer.args
    node.say(m.Started(offer.tasks, offer.attempts))
    node.finish(offer, value=b"out")
    seen: list[tuple[bytes, str, bytes]] = []
    while not seen or seen[-1][1] != "succeeded":
        cursor = alice.ask(m.Watch(session, cursor.epoch, cursor.seq, 5_000))
        assert not cursor.gap
        seen += zip(cursor.tasks, cursor.states, cursor.values, strict=True)
    expected = [(task, "assigned", b""), (task, "running", b""), (task, "succeeded", b"out")]
    assert expected[-2:] == seen[-2:]
    assert [task] == node.hear(m.ResultAck).tasks


def test_an_acknowledged_task_survives_sigkill_and_its_frame_is_answered_again(
    scheduler: RawScheduler,
) -> None:
    key = secrets.token_bytes(16)
    before = scheduler.client("alice").submit(3, submit_key=key)
    scheduler.kill()
    first_epoch = scheduler.endpoints.epoch
    scheduler.start()
    after = scheduler.client("alice").submit(3, submit_key=key)
    counts = scheduler.client("alice").ask(m.Status()).body["counts"]
    assert (before, {"queued": 3}) == (after, counts)
    assert scheduler.endpoints.epoch > first_epoch


def test_a_watcher_of_the_epoch_before_learns_that_it_missed_something(
    scheduler: RawScheduler,
) -> None:
    session, alice = secrets.token_bytes(16), scheduler.client("alice")
    cursor = alice.ask(m.States([], session))
    scheduler.kill()
    scheduler.start()
    answer = scheduler.client("alice").ask(m.Watch(session, cursor.epoch, cursor.seq, 5_000))
    assert (True, scheduler.endpoints.epoch) == (answer.gap, answer.epoch)


def test_a_node_keeps_its_task_over_a_restart_of_the_scheduler(scheduler: RawScheduler) -> None:
    node = scheduler.node("n1")
    node.register()
    (task,) = scheduler.client("alice").submit().tasks
    offer = node.hear(m.Offer)
    scheduler.kill()
    scheduler.start()
    again = scheduler.node("n1")
    again.held = offer
    answer = again.register()
    assert ([task], [1]) == (answer.tasks, answer.attempts)
    again.finish(offer)
    wait_state(scheduler.client("alice"), task, "succeeded")


def test_a_new_incarnation_gets_a_pipe_in_which_nothing_old_waits(
    scheduler: RawScheduler,
) -> None:
    first = scheduler.node("n1")
    port = first.register().dispatch_port
    first.hang_up()  # else it may come back to that port, and be sent what is for the second
    (task,) = scheduler.client("alice").submit().tasks
    second = scheduler.node("n1")
    assert port == second.register().dispatch_port

    def offered() -> m.Offer | None:
        second.beat()  # what the first one was granted comes back when the second does not hold it
        assert second.dispatch is not None
        return second.hear(m.Offer) if second.dispatch.poll(50) else None

    offer = wait_for(offered, "the offer")
    assert ([task], second.incarnation) == (offer.tasks, offer.incarnation)


def test_beacons_reach_nodes_with_the_epoch(scheduler: RawScheduler) -> None:
    pair, port = scheduler.keys["n1"], scheduler.endpoints.beacon
    frame = codec.decode(scheduler.socket(zmq.SUB, pair, port).recv())
    assert (scheduler.endpoints.epoch, m.Beacon) == (frame.epoch, type(frame.message))


def test_a_frame_sent_twice_at_once_is_stored_once(scheduler: RawScheduler) -> None:
    pair, port = scheduler.keys["alice"], scheduler.endpoints.control
    dealer = scheduler.socket(zmq.DEALER, pair, port)
    spec = {"kind": "command", "argv": ["true"]}
    frame = codec.encode(m.Submit(secrets.token_bytes(16), b"", [spec], [0], [b""]), 0)
    for n in range(20):
        dealer.send_multipart([b"%d" % n, b"", frame])
    answers = {dealer.recv_multipart()[-1] for _ in range(20)}
    total = scheduler.client("alice").ask(m.ListTasks({})).total
    assert (1, 1) == (len(answers), total)


def test_cancel_of_a_batch_ends_all_of_it(scheduler: RawScheduler) -> None:
    alice = scheduler.client("alice")
    batch = alice.submit(500, batch_key=b"b" * 16).batch
    answer = alice.ask(m.Cancel([], [batch]))
    assert {"cancelled"} == set(answer.verdicts)
    shown = alice.ask(m.ShowBatch(batch)).body
    assert (500, {"cancelled": 500}) == (shown["total"], shown["counts"])


def test_cancel_of_a_running_task_kills_on_its_node_and_says_stopping(
    scheduler: RawScheduler,
) -> None:
    alice, node = scheduler.client("alice"), scheduler.node("n1")
    node.register()
    (task,) = alice.submit().tasks
    offer = node.hear(m.Offer)
    assert ["stopping"] == alice.ask(m.Cancel([task], [], 0)).verdicts
    assert [task] == node.hear(m.Kill).tasks
    node.say(m.Results(offer.tasks, offer.attempts, offer.tokens, [2], [b""], [b""], [0]))
    wait_state(alice, task, "cancelled")


def test_listings_page_filter_and_count(scheduler: RawScheduler) -> None:
    alice, node = scheduler.client("alice"), scheduler.node("n1")
    node.register(cpus=1)
    done = run_one(alice, node)
    tasks = []
    for n in range(5):
        spec = {"kind": "command", "argv": ["true"], "name": f"t{n}", "tags": {"n": str(n)}}
        if n:
            spec["gpus"] = 1  # none has one: these stay queued
        tasks += alice.submit(specs=[spec], allow_infeasible=True).tasks
    node.hear(m.Offer)

    def listed(limit: int = 100, cursor: str = "", **filters: Any) -> Any:
        return alice.ask(m.ListTasks(filters, limit, cursor))

    def names(page: Any) -> list[bytes]:
        return [row["id"] for row in page.rows]

    newest_first = list(reversed(tasks))
    assert [*newest_first, done] == names(listed())
    assert {"command"} == {row["kind"] for row in listed().rows}
    assert listed(states=["succeeded"]).rows[0]["started_ms"] > 0
    assert newest_first == names(listed(active=True))
    assert [done] == names(listed(states=["succeeded"]))
    assert [tasks[0]] == names(listed(states=["assigned", "running"]))
    assert [tasks[0]] == names(listed(active=True, node="n1"))
    assert [tasks[3]] == names(listed(name="t3", active=True))
    assert [tasks[2]] == names(listed(tags={"n": "2"}))
    first = listed(2, active=True)
    second = listed(2, first.cursor, active=True)
    assert (newest_first[:4], 5) == (names(first) + names(second), first.total)
    assert "invalid" == listed(colour="red").code
    assert "invalid" == listed(states=["sleeping"]).code


def test_what_a_user_types_is_resolved(scheduler: RawScheduler) -> None:
    alice = scheduler.client("alice")
    (task,) = alice.submit().tasks
    batch = alice.submit(10, batch_key=b"b" * 16).batch
    text = ids.format_id(ids.from_bytes(batch))
    member = [ids.to_bytes(ids.member(ids.from_bytes(batch), n)) for n in range(10)]

    def resolved(*refs: str) -> tuple[list[bytes], list[bytes]]:
        answer = alice.ask(m.Resolve(list(refs)))
        return answer.tasks, answer.batches

    assert ([task], [b""]) == resolved("1")
    assert ([task], [b""]) == resolved(ids.format_id(ids.from_bytes(task)).lower())
    assert ([], [batch]) == resolved("last")
    assert ([], [batch]) == resolved(text)
    assert ([member[7]], [b""]) == resolved(f"{text}.7")
    assert (member[3:6], [b""]) == resolved(f"{text}.3-5")
    assert ([task, *member[:2]], [b""]) == resolved("1-3")
    assert ["not_found"] * 3 == [
        alice.ask(m.Resolve([ref])).code for ref in ("99", "nonsense", "0" * 26)
    ]


def test_output_is_asked_of_the_node_and_kept_output_is_not(scheduler: RawScheduler) -> None:
    alice, node = scheduler.client("alice"), scheduler.node("n1")
    node.register()
    done = run_one(alice, node, out=b"hello", out_tail=b"", out_bytes=5)
    kept = alice.ask(m.Logs(done, 0, "out", 2))
    assert (b"llo", 5, True) == (kept.data, kept.total, kept.ended)
    (task,) = alice.submit().tasks
    node.hear(m.Offer)
    alice.socket.send(codec.encode(m.Logs(task, 0, "out", 3), 0))
    asked = node.hear(m.Fetch)
    node.say(m.Output(asked.request, task, 1, "out", 3, b"abc", 6, ended=False))
    answer = codec.decode(alice.socket.recv()).message
    assert (m.Output, b"abc", 0) == (type(answer), answer.data, answer.request)


def test_kept_output_with_a_cut_says_how_much_is_missing(scheduler: RawScheduler) -> None:
    alice, node = scheduler.client("alice"), scheduler.node("n1")
    node.register()
    done = run_one(alice, node, out=b"head", out_tail=b"tail", out_bytes=100)
    scheduler.client("root").ask(m.RevokeKey("n1"))
    head, tail = (alice.ask(m.Logs(done, 0, "out", offset)) for offset in (0, 4))
    assert (b"head", False, 0) == (head.data, head.ended, head.lost)
    assert (b"tail", 96, True, 92) == (tail.data, tail.offset, tail.ended, tail.lost)


def test_a_viewer_sees_no_values_environments_or_output(scheduler: RawScheduler) -> None:
    alice, node, vera = scheduler.client("alice"), scheduler.node("n1"), scheduler.client("vera")
    node.register()
    spec = {"kind": "command", "argv": ["true"], "env": {"TOKEN": "canary"}}
    (task,) = alice.submit(specs=[spec], args=[b"canary"]).tasks
    node.finish(node.hear(m.Offer), value=b"canary", details=codec.pack_document({"out": "canary"}))
    wait_state(alice, task, "succeeded")
    seen = [vera.ask(m.ShowTask(task)), vera.ask(m.States([task])), vera.ask(m.ListTasks({})),
            vera.ask(m.Explain(task)), vera.ask(m.Logs(task, 0, "out", 0))]  # fmt: skip
    assert "canary" in repr(alice.ask(m.ShowTask(task)))
    assert "canary" not in repr(seen)


def test_status_nodes_settings_and_keys_are_shown(scheduler: RawScheduler) -> None:
    root = scheduler.client("root")
    scheduler.node("n1").register()
    status = root.ask(m.Status()).body
    assert ("local", "admin", ["ready"]) == (
        status["cluster"], status["you"]["role"], [row["state"] for row in status["nodes"]],
    )  # fmt: skip
    assert ["n1"] == [row["name"] for row in root.ask(m.ListNodes("n1")).rows]
    assert "not_found" == root.ask(m.ListNodes("n9")).code
    (entry,) = root.ask(m.ShowConfig("scheduler.lease")).body["entries"]
    assert ("scheduler.lease", 30.0, "defaults") == (entry["key"], entry["value"], entry["layer"])
    assert "not_found" == root.ask(m.ShowConfig("scheduler.colour")).code
    assert sorted([*scheduler.keys, "remuda-store"]) == sorted(
        row["name"] for row in root.ask(m.ListKeys()).rows
    )


def test_a_key_with_nonsense_in_it_is_refused(scheduler: RawScheduler) -> None:
    root, good = scheduler.client("root"), "x" * 40
    codes = [
        root.ask(message).code
        for message in (
            m.AllowKey("eve", "king", scheduler.keys["bob"].public),
            m.AllowKey("../eve", "submit", good),
            m.AllowKey("eve", "submit", "short"),
            m.AllowKey("eve", "submit", scheduler.keys["bob"].public),
            m.RevokeKey("nobody"),
        )
    ]
    assert ["invalid", "invalid", "key_file", "conflict", "not_found"] == codes


def test_a_pause_of_the_scheduler_makes_no_node_lost(tmp_path: Path) -> None:
    with raw_scheduler(tmp_path, QUICK) as scheduler:
        node = scheduler.node("n1")
        node.register()
        (task,) = scheduler.client("alice").submit().tasks
        node.held = node.hear(m.Offer)
        assert scheduler.process is not None
        scheduler.process.send_signal(signal.SIGSTOP)
        paused_until = time.monotonic() + 4
        while time.monotonic() < paused_until:
            node.beat()
            time.sleep(0.2)
        scheduler.process.send_signal(signal.SIGCONT)
        for _ in range(5):
            node.beat()
            time.sleep(0.1)
        (row,) = scheduler.client("alice").ask(m.ListNodes()).rows
        shown = scheduler.client("alice").ask(m.ShowTask(task)).body
        assert ("ready", 1) == (row["state"], len(shown["attempts"]))


def test_a_node_that_falls_silent_is_lost_and_its_task_runs_elsewhere(tmp_path: Path) -> None:
    with raw_scheduler(tmp_path, QUICK) as scheduler:
        first, second = scheduler.node("n1"), scheduler.node("n2")
        first.register()
        (task,) = scheduler.client("alice").submit().tasks
        assert [task] == first.hear(m.Offer).tasks
        second.register()
        second.dispatch.setsockopt(zmq.RCVTIMEO, 200)
        offer = None
        while offer is None:
            second.beat()
            with contextlib.suppress(zmq.Again):
                offer = second.hear(m.Offer)
        assert ([task], [2]) == (offer.tasks, offer.attempts)


def test_a_failing_disk_ends_the_daemon_unanswered_and_loses_nothing_acknowledged(
    tmp_path: Path,
) -> None:
    with raw_scheduler(tmp_path) as scheduler:
        alice, process = scheduler.client("alice"), scheduler.process
        assert process is not None
        alice.socket.setsockopt(zmq.RCVTIMEO, 3_000)
        largest = max(path.stat().st_size for path in scheduler.home.scheduler_dir.iterdir())
        limit = largest + 200_000
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        acknowledged: list[bytes] = []
        with contextlib.suppress(zmq.Again):  # the one that is not answered
            while len(acknowledged) < 5_000:
                acknowledged += alice.submit(50, args=[b"x" * 1_000] * 50).tasks
        assert (70, True) == (process.wait(20), "journal failed" in scheduler.log())
        scheduler.start()
        states = scheduler.client("alice").ask(m.States(acknowledged)).states
        assert ["queued"] * len(acknowledged) == states


def test_sigterm_ends_the_daemon_cleanly_and_waits_for_no_client_and_no_task(
    scheduler: RawScheduler,
) -> None:
    alice, node, session = scheduler.client("alice"), scheduler.node("n1"), secrets.token_bytes(16)
    node.register()
    (task,) = alice.submit().tasks
    node.hear(m.Offer)  # and never says what comes of it
    cursor = alice.ask(m.Watch(session, 0, 0, 0))
    hour_ms = 3_600_000
    alice.socket.send(codec.encode(m.Watch(session, cursor.epoch, cursor.seq, hour_ms), 0))
    assert 0 == scheduler.stop()
    assert '"event": "stopped"' in scheduler.log().splitlines()[-1]
    scheduler.start()
    assert "assigned" == state_of(scheduler.client("alice"), task)


def test_a_second_scheduler_on_the_same_state_refuses_to_start(scheduler: RawScheduler) -> None:
    command = [sys.executable, "-P", "-m", "remuda.scheduler", "--port", "0", "--home",
               str(scheduler.home.root)]  # fmt: skip
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (True, "") == (second.returncode != 0, second.stdout)
    assert "cannot serve" in second.stderr


def test_a_wrong_setting_is_named_and_nothing_starts(tmp_path: Path) -> None:
    (tmp_path / "remuda.toml").write_text("[scheduler]\ncolour = 1\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "remuda.scheduler", "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 4 == done.returncode
    assert "colour" in done.stderr
