"""Which of a daemon's neglects cost it its ping, and which are no fault of its own?"""

from types import SimpleNamespace
from typing import Any

import apsw
import pytest

from remuda.config.watchdog import earned, withheld
from remuda.node.wellbeing import Wellbeing as OfNode
from remuda.protocol.messages import Phase
from remuda.scheduler.commit_probe import CommitProbe
from remuda.scheduler.wellbeing import Wellbeing as OfScheduler
from remuda.scheduler.wire import HEARTBEAT_PER_TURN
from remuda.store.wellbeing import Wellbeing as OfStore

S = 1_000_000_000


class Service:
    """Keeps what a loop's turn hands over."""

    is_watched = True
    is_ready = True

    def __init__(self) -> None:
        self.proofs: Any = ()

    def tend(self, _now_ns: int, _status: Any, proofs: Any) -> None:
        self.proofs = proofs()


def of_scheduler(service: Service, *, began_ns: int, monkeypatch) -> OfScheduler:
    clock = SimpleNamespace(monotonic_ns=lambda: began_ns)
    monkeypatch.setattr("remuda.scheduler.wellbeing.time", clock)
    return OfScheduler(service, view=None, ask_disk=lambda: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("left", "is_earned"), [(False, True), (True, False)])
def test_heartbeats_that_are_never_all_heard_cost_the_scheduler_its_ping(
    left, is_earned, monkeypatch
) -> None:
    service = Service()
    wellbeing = of_scheduler(service, began_ns=0, monkeypatch=monkeypatch)
    for second in range(1, 13):
        wellbeing.heard(HEARTBEAT_PER_TURN if left else 3, second * S)
        wellbeing.committed(second * S)
        wellbeing.tend(second * S)
    assert is_earned == earned(service.proofs, 12 * S)


def test_an_idle_scheduler_asks_its_disk_and_not_more_often_than_it_must(monkeypatch) -> None:
    asked: list[int] = []
    clock = SimpleNamespace(monotonic_ns=lambda: 0)
    monkeypatch.setattr("remuda.scheduler.wellbeing.time", clock)
    service = Service()
    wellbeing = OfScheduler(service, view=None, ask_disk=lambda: asked.append(1))  # type: ignore[arg-type]
    for second in range(13):
        clock.monotonic_ns = lambda second=second: second * S
        wellbeing.tend(second * S)
    assert (3, True) == (len(asked), earned([service.proofs[0]], 12 * S))


def test_a_full_disk_is_an_answer_of_the_disk() -> None:
    class FullDisk:
        in_transaction = False

        def execute(self, _sql: str) -> None:
            raise apsw.FullError("no room")

    seen: list[str] = []
    room = SimpleNamespace(on_full=lambda: seen.append("full"))
    CommitProbe(FullDisk(), room).ask()  # type: ignore[arg-type]
    assert ["full"] == seen


def of_node(*, due_ns: int, overdue_ns: int) -> OfNode:
    attempts = {1: SimpleNamespace(phase=Phase.RUNNING), 2: SimpleNamespace(phase=Phase.ENDED)}
    state = SimpleNamespace(attempts=attempts, outbox=SimpleNamespace(entries={2: 0}))
    membership = SimpleNamespace(
        core=SimpleNamespace(state=state), deadline=lambda: due_ns, is_inside=False,
        complaint="the scheduler does not answer", address=SimpleNamespace(control="tcp://s:7700"),
    )  # fmt: skip
    probe = SimpleNamespace(overdue_ns=lambda _now: overdue_ns)
    return OfNode(Service(), membership, probe, 5 * S, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("due_s", "overdue_s", "what"),
    [
        (100, 100, ""),
        (85, 100, "the scheduler called when it was due"),
        (100, 80, "a GPU probe that does not answer given up"),
        (140, 140, ""),
    ],
)
def test_what_an_agent_lets_lie_costs_it_its_ping(due_s, overdue_s, what) -> None:
    wellbeing = of_node(due_ns=due_s * S, overdue_ns=overdue_s * S)
    assert what == withheld(wellbeing.proofs(100 * S), 100 * S).partition(":")[0]


def test_an_agent_outside_says_what_it_tries_why_and_what_it_keeps() -> None:
    assert (
        "not registered, trying tcp://s:7700 (the scheduler does not answer): "
        "1 tasks here, 1 results to be taken"
    ) == of_node(due_ns=0, overdue_ns=0).status()


class Committer:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def ask(self, then: Any) -> None:
        self.asked.append(then)


@pytest.mark.parametrize(("asks", "is_earned"), [(True, False), (False, True)])
def test_a_committer_that_hangs_costs_the_store_its_ping_unless_it_waits_for_a_bucket(
    asks, is_earned, monkeypatch
) -> None:
    clock = SimpleNamespace(monotonic_ns=lambda: 0)
    monkeypatch.setattr("remuda.store.wellbeing.time", clock)
    service, committer = Service(), Committer()
    wellbeing = OfStore(service, committer, ledger=None, asks=asks)  # type: ignore[arg-type]
    for second in range(40):
        wellbeing.tend(second * S)
    assert (is_earned, int(asks)) == (earned(service.proofs, 39 * S), len(committer.asked))


@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_earns_the_ping_be_it_that_the_disk_is_full(fails, monkeypatch) -> None:
    clock = SimpleNamespace(monotonic_ns=lambda: 0)
    monkeypatch.setattr("remuda.store.wellbeing.time", clock)
    service, committer = Service(), Committer()
    wellbeing = OfStore(service, committer, ledger=None, asks=True)  # type: ignore[arg-type]
    wellbeing.tend(30 * S)

    def outcome() -> None:
        if fails:
            raise OSError(28, "full")

    clock.monotonic_ns = lambda: 31 * S
    committer.asked[0](outcome)
    wellbeing.tend(32 * S)
    assert earned(service.proofs, 32 * S)
