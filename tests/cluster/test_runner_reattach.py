"""Does work outlive its agent: links that break, agents that come back, orders nobody read?"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from remuda.node import link, outputs
from remuda.worker import frames, values

from ..fakes.runner_driver import Driver, driven, wait_until


def read_all(runner: Driver, task: bytes) -> bytes:
    found = b""
    while True:
        chunk = outputs.read(runner.directory, task, 1, "out", len(found), 1 << 20)
        if not chunk.data:
            return found
        found += chunk.data


def test_a_printing_command_goes_on_while_its_link_is_closed_and_opened(runner: Driver) -> None:
    run = runner.start("i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done; exit 7")
    # An order that is still unread when a newer connection comes is dropped: see below.
    wait_until((runner.folder(run.task) / "out").exists, "the first output")
    for _ in range(20):
        runner.link.close()
        runner.attach()
    done = runner.finished(run)
    assert 7 == done.returncode
    assert b"".join(b"line %d\n" % n for n in range(60000)) == read_all(runner, run.task)


AGENT = """
import secrets, select, sys, time
from pathlib import Path
from remuda.node import link, runtime
from remuda.worker import frames
root = Path(sys.argv[1])
directory = link.spawn(root / "runners", runtime.install(root / "runtime"))
while True:
    try:
        attached = link.Link.attach(directory)
        break
    except link.LinkNotReady:
        time.sleep(0.005)
script = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); sleep 0.0003; done; exit 5"
attached.send(frames.Run(b"t" * 16, 1, ["sh", "-c", script], {"PATH": "/usr/bin:/bin"}))
while True:
    select.select([attached], [], [])
    for message in attached.on_readable():
        if isinstance(message, frames.OutputGrew):
            print(directory, flush=True)
"""


def test_an_agent_killed_under_a_printing_command_loses_nothing(tmp_path: Path) -> None:
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    directory = Path(agent.stdout.readline().strip())
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    agent.stdout.close()
    found = link.scan(tmp_path / "runners")
    assert ([directory], []) == (found.alive, found.dead)
    runner = Driver.__new__(Driver)
    runner.directory, runner.seen = directory, []
    hello = runner.attach()
    assert ("command", [[(b"t" * 16).hex(), 1, True]]) == (hello.occupant, hello.held)
    done = runner.wait(frames.Finished)
    assert 5 == done.returncode
    assert b"".join(b"%d\n" % n for n in range(3000)) == read_all(runner, b"t" * 16)
    runner.link.send(frames.Ack([], [[(b"t" * 16).hex(), 1]]))
    runner.link.send(frames.Exit())
    wait_until(lambda: not link.is_alive(directory), "the runner's exit")
    runner.link.close()


def test_a_result_is_repeated_at_each_attach_until_it_is_acknowledged(runner: Driver) -> None:
    run = runner.start("echo x")
    first = runner.finished(run)
    runner.link.close()
    assert [[run.task.hex(), 1, True]] == runner.attach().unacked
    assert first == runner.finished(run)
    runner.link.send(frames.Ack([], [[run.task.hex(), 1]]))
    runner.link.send(frames.Status())
    assert [] == runner.wait(frames.Hello).unacked


def test_the_end_that_nobody_heard_is_told_to_the_next_agent(runner: Driver) -> None:
    run = runner.start("echo unheard")
    runner.link.close()
    result = runner.folder(run.task) / "result.json"
    wait_until(result.exists, "the end")
    runner.attach()
    assert b"unheard\n" == runner.finished(run).out_inline


def test_a_timeout_holds_while_no_agent_is_connected(runner: Driver) -> None:
    run = runner.start("sleep 1000", timeout_s=0.2, grace_s=0.1)
    runner.link.close()
    wait_until((runner.folder(run.task) / "result.json").exists, "the end")
    assert [] == runner.processes()
    runner.attach()
    assert "timeout" == runner.finished(run).how


def test_the_newest_connection_wins_and_hears_what_is_held(runner: Driver) -> None:
    run = runner.start("sleep 1000")
    runner.wait(frames.Started)
    old = runner.link
    assert [[run.task.hex(), 1, True]] == runner.attach().held
    wait_until(lambda: old.on_readable() == [] and old.closed, "the old link's end")
    assert "eof" == old.closed
    runner.link.send(frames.Cancel(run.task, 1, 0.0))
    assert "cancelled" == runner.finished(run).how


def test_orders_unread_on_an_old_connection_never_run(runner: Driver, tmp_path: Path) -> None:
    # The runner is stopped, so that far more than one read's worth of orders lies unread.
    os.kill(runner.hello.pid, signal.SIGSTOP)
    marker = tmp_path / "ran"
    padding = frames.encode(frames.Cancel(b"p" * 16, 1)) * 20000
    order = frames.encode(
        frames.Run(b"o" * 16, 1, ["touch", str(marker)], {"PATH": "/usr/bin:/bin"})
    )
    sock = socket.socket(fileno=os.dup(runner.link.fileno()))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    sock.settimeout(0.0)
    sent = 0
    backlog = padding + order
    while sent < len(backlog):
        try:
            sent += sock.send(backlog[sent:])
        except BlockingIOError:
            break
    sock.close()
    assert sent > 256 << 10, "the backlog must exceed one read"
    old = runner.link
    os.kill(runner.hello.pid, signal.SIGCONT)
    hello = runner.attach()
    assert [] == hello.held + hello.unacked
    assert 0 == runner.run("true").returncode
    assert not marker.exists()
    old.close()


def test_an_order_behind_the_backlog_runs_where_nobody_attaches_anew(
    runner: Driver, tmp_path: Path
) -> None:
    # The counterpart of the test above: without a newer connection the same order does run.
    os.kill(runner.hello.pid, signal.SIGSTOP)
    for _ in range(2000):
        runner.link.send(frames.Cancel(b"p" * 16, 1))
    run = runner.start("touch", str(tmp_path / "ran"))
    os.kill(runner.hello.pid, signal.SIGCONT)
    assert 0 == runner.finished(run).returncode
    assert (tmp_path / "ran").exists()


def test_an_agent_that_does_not_read_is_dropped_and_gets_all_results_later(
    runner: Driver,
) -> None:
    runner.host("def big(n):\n    return b'x' * 60000 + str(n).encode()\n")
    runner.wait(frames.Loaded)
    calls = [runner.call("big", n) for n in range(300)]
    for at in range(0, 300, 50):
        runner.send_calls(*calls[at : at + 50])
    runner.wait(frames.Results)
    runner.link.close()
    found: dict[bytes, bytes] = {}
    runner.attach()
    while len(found) < 300:
        for outcome in runner.wait(frames.Results).outcomes:
            found[outcome.task] = outcome.body
    ends = [values.decode(found[call.task])[60000:] for call in calls]
    assert [str(n).encode() for n in range(300)] == ends


def test_garbage_closes_the_link_and_leaves_the_occupant_alone(runner: Driver) -> None:
    run = runner.start("sleep 0.5; exit 9")
    runner.wait(frames.Started)
    sock = socket.socket(fileno=os.dup(runner.link.fileno()))
    sock.sendall(b"\xff\xff\xff\xff\x01GET / HTTP/1.1")
    sock.close()
    wait_until(lambda: runner.link.on_readable() == [] and runner.link.closed, "the end")
    runner.attach()
    assert 9 == runner.finished(run).returncode


def test_an_idle_runner_exits_and_removes_its_directory(tmp_path: Path) -> None:
    with driven(tmp_path, idle_s=0.2) as runner:
        wait_until(lambda: not runner.directory.exists(), "the directory's end")
        assert ([], []) == (link.scan(runner.runners).alive, link.scan(runner.runners).dead)
        with pytest.raises(link.LinkGone):
            link.Link.attach(runner.directory)


def test_a_runner_with_unacknowledged_results_does_not_exit_idle(tmp_path: Path) -> None:
    with driven(tmp_path, idle_s=0.1) as runner:
        run = runner.start("true")
        done = runner.finished(run)
        runner.link.close()
        with pytest.raises(AssertionError):
            wait_until_short(lambda: not link.is_alive(runner.directory))
        runner.attach()
        assert done == runner.finished(run)


def wait_until_short(condition: object) -> None:
    import time

    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        assert not condition()  # type: ignore[operator]
        time.sleep(0.02)
    raise AssertionError("it stayed")


def test_exit_ends_the_occupant_and_reports_it_as_stopped(runner: Driver) -> None:
    run = runner.start("sleep 1000")
    runner.wait(frames.Started)
    runner.link.send(frames.Exit(grace_s=1.0))
    assert "stopped" == runner.finished(run).how
    runner.link.send(frames.Ack([], [[run.task.hex(), 1]]))
    wait_until(lambda: not link.is_alive(runner.directory), "the runner's exit")


def locked(path: Path) -> bool:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def take_lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_a_gpu_lock_is_kept_by_the_runner_until_its_occupant_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "GPU-1"
    fd = take_lock(path)
    with driven(tmp_path, lock_fds={"GPU-1": fd}) as runner:
        run = runner.start("sleep 1000")
        runner.wait(frames.Started)
        os.close(fd)
        runner.link.close()
        assert locked(path)
        assert ["GPU-1"] == runner.attach().locks
        for mine in runner.link.take_lock_fds().values():
            os.close(mine)
        runner.link.send(frames.Cancel(run.task, 1, 0.0))
        runner.finished(run)
        assert not locked(path)


def test_locks_handed_over_later_come_back_to_the_next_agent(
    runner: Driver, tmp_path: Path
) -> None:
    path = tmp_path / "GPU-2"
    fd = take_lock(path)
    runner.link.send(frames.HoldLocks(["GPU-2"]), [fd])
    run = runner.start("sleep 1000")
    runner.wait(frames.Started)
    os.close(fd)
    runner.link.close()
    runner.attach()
    (mine,) = runner.link.take_lock_fds().values()
    runner.link.send(frames.Cancel(run.task, 1, 0.0))
    runner.finished(run)
    assert locked(path), "the new agent holds it still"
    os.close(mine)
    assert not locked(path)
