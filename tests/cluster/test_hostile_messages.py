"""Does the daemon live through every message that an admitted key can put together?"""

import dataclasses
import secrets
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.scheduler.access import CONTROL, HEARTBEAT, UPLINK

from ..fakes.raw import RawClient, RawNode, RawScheduler, raw_scheduler

pytestmark = pytest.mark.cluster
EXAMPLES = 40
KEPT_OUT = {m.RevokeKey}  # it would end the test's own keys
_NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 5, 7, 100, 20_000, -(1 << 63) + 1, (1 << 63) - 1])
_TEXTS = st.sampled_from(["", "last", "1", "out", "n1", "x\0y", "²", "scheduler", "é" * 300, "-"])
_BLOBS = st.sampled_from([b"", b"\xc1", b"x" * 16, b"\0" * 16, b"y" * 100, b"\x80", b"\x91\xc0"])
_LEAVES = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS, _BLOBS, st.floats())
_KEYS = st.sampled_from(
    ["kind", "argv", "target", "gpus", "states", "active", "owner", "tags", "batch", "cpus_milli",
     "memory_bytes", "labels", "handlers", "x", ""]
)  # fmt: skip
_DOCUMENTS = st.dictionaries(
    _KEYS,
    st.recursive(
        _LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=5,
)
_BY_TYPE = {int: _NUMBERS, str: _TEXTS, bytes: _BLOBS, bool: st.booleans(), dict: _DOCUMENTS}


@st.composite
def messages(draw: Any, kinds: list[type[m.Message]], known: dict[str, list[Any]]) -> m.Message:
    """Draw a message whose fields have the right types and any content; ids are often known."""
    kind = draw(st.sampled_from(kinds))
    hints = typing.get_type_hints(kind)
    rows = draw(st.integers(0, 3))
    values = {}
    for field in dataclasses.fields(kind):
        values[field.name] = draw(_value(hints[field.name], field.name, kind, rows, known))
    made: m.Message = kind(**values)
    return made


def _value(
    hint: Any, name: str, kind: type[m.Message], rows: int, known: dict[str, list[Any]]
) -> st.SearchStrategy[Any]:
    if typing.get_origin(hint) is list:
        (inner,) = typing.get_args(hint)
        item = _value(inner, name, m.Message, rows, known)
        if name in kind.COLUMNS:
            return st.lists(item, min_size=rows, max_size=rows)
        return st.lists(item, max_size=3)
    plain = _BY_TYPE[hint]
    return st.one_of(st.sampled_from(known[name]), plain) if name in known else plain


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawScheduler]:
    with raw_scheduler(tmp_path_factory.mktemp("hostile")) as running:
        yield running


def known_ids(scheduler: RawScheduler) -> dict[str, list[Any]]:
    """Submit some tasks and name them for the fields in which ids stand."""
    alice = scheduler.client("alice")
    single = alice.submit(allow_infeasible=True).tasks
    batch = alice.submit(5, batch_key=secrets.token_bytes(16)).batch
    return {"tasks": [*single, batch], "task": single, "batches": [batch], "batch": [batch],
            "batch_key": [b"b" * 16, b""], "attempts": [1], "attempt": [0, 1]}  # fmt: skip


def kinds(group: frozenset[type[m.Message]]) -> list[type[m.Message]]:
    return sorted(group - KEPT_OUT, key=lambda kind: kind.__name__)


FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("kind", kinds(CONTROL), ids=lambda kind: kind.__name__)
def test_every_request_gets_an_answer_whatever_it_holds(
    scheduler: RawScheduler, kind: type[m.Message]
) -> None:
    names = ("n1",) if kind is m.Register else ("root", "alice", "vera")
    clients: list[RawClient] = [scheduler.client(name) for name in names]
    for client in clients:
        client.socket.setsockopt(zmq.RCVTIMEO, 30_000)
    known = known_ids(scheduler) | {"wait_ms": [0]}

    @FUZZ
    @given(message=messages([kind], known))
    def ask(message: m.Message) -> None:
        if isinstance(message, m.Watch):
            message.wait_ms = 0
        for client in clients:
            assert isinstance(client.ask(message), m.Message)

    ask()


@pytest.mark.parametrize("channel", ["uplink", "heartbeat"])
def test_whatever_a_node_says_the_daemon_lives(scheduler: RawScheduler, channel: str) -> None:
    node: RawNode = scheduler.node("n1")
    node.register(cpus=1_000)
    scheduler.client("alice").submit(20)
    offer = node.hear(m.Offer)
    known = {"tasks": offer.tasks, "attempts": [1], "tokens": offer.tokens,
             "incarnation": [node.incarnation], "request": [1], "outcomes": [0, 1, 2, 3],
             "phases": [0, 1, 2], "task": offer.tasks, "attempt": [1]}  # fmt: skip
    socket = getattr(node, channel)
    group = kinds(UPLINK if channel == "uplink" else HEARTBEAT)

    @settings(FUZZ, max_examples=EXAMPLES * 10)
    @given(message=messages(group, known))
    def say(message: m.Message) -> None:
        socket.send(codec.encode(message, 0))

    say()
    assert isinstance(node.register(), m.Registered)
    node.hang_up()
    assert isinstance(scheduler.client("alice").ask(m.Status()), m.Document)
