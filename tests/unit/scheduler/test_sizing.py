"""Does a task ask for what its arguments come to, and is what they cannot come to refused?"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.protocol import capabilities as wire
from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.errors import Invalid
from remuda.protocol.resources import describe_request
from remuda.scheduler.core import Core, CoreSettings
from remuda.scheduler.events import CancelTasks, JoinNode, SubmitTasks

from ...fakes.world import GIB, SimNode, gpu
from .test_edge import ALICE, NOW, Desk, frame

MIB = 1 << 20
PAINT: dict[str, Any] = {
    "kind": "function",
    "target": "m:paint",
    "vram": "1GiB + 1MiB*width",
    "size": "width",
}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.journal.close()


def paints(*widths: int, **fields: Any) -> m.Submit:
    numbers = [{"width": width} for width in widths]
    known = {"specs": [PAINT], "numbers": numbers, "allow_infeasible": True}
    return frame(len(widths), **(known | fields))


def asked(core: Core) -> list[tuple[int, int]]:
    return [(t.spec.request.vram_bytes, t.spec.size_class) for t in core.tasks.values()]


def recover(desk: Desk) -> Core:
    recovered = desk.journal.recover()
    return Core(recovered, epoch=9, secret=b"s" * 32, seed=1, settings=CoreSettings(), now=NOW)


def copy_of(desk: Desk, old: list[bytes], **changes: Any) -> m.Message:
    desk.store(CancelTasks(77, "alice", "", [ids.from_bytes(each) for each in old], -1))
    message = m.Retry(secrets.token_bytes(16), b"", old, [], changes=changes)
    desk.requests += 1
    event = desk.edge.retry(message, ALICE, desk.requests, NOW.wall_ms, desk.core.tasks)
    assert isinstance(event, SubmitTasks)
    return desk.store(event)[0]


def test_each_task_asks_for_what_its_arguments_come_to(desk: Desk) -> None:
    desk.submit(paints(1024, 3072))
    assert [(2 * GIB, 10), (4 * GIB, 11)] == asked(desk.core)


def test_tasks_that_ask_alike_share_one_request(desk: Desk) -> None:
    desk.submit(paints(*range(1000, 1008)))
    requests = {id(task.spec.request) for task in desk.core.tasks.values()}
    assert (8, 1) == (len(desk.core.tasks), len(requests))


def test_what_was_asked_for_outlives_a_restart(desk: Desk) -> None:
    desk.submit(paints(1024, 3072))
    assert asked(desk.core) == asked(recover(desk))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([{}], r"args\[0\]: vram '1GiB \+ 1MiB\*width' needs the keyword argument width"),
        ([], r"args\[0\]: .* needs the keyword argument width"),
        ([{"width": -3}], r"args\[0\]: .* the argument width is -3"),
        ([{"width": 1e300}], r"args\[0\]: .* the argument width is no finite number"),
        ([{"width": 1 << 60}], r"args\[0\]: .* up to 1 EiB"),
        ([{"width": "8"}], r"numbers\[0\].width: found '8', it is a number"),
        ([{"width": True}], r"numbers\[0\]: 'width' is no name of a number"),
        ([{"width": 1}] * 2, "found 2 rows for 1 tasks"),
        ([{f"n{number}": 1 for number in range(33)}], "has 33, allowed are 32"),
    ],
)
def test_numbers_that_come_to_nothing_are_refused_with_task_and_argument(
    desk: Desk, numbers: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        desk.judge(paints(1, numbers=numbers))


def test_a_size_that_never_fits_refuses_the_frame_and_says_which(desk: Desk) -> None:
    node = SimNode("n1", wire.Capabilities(2_000, 8 * GIB, [gpu(1, 8)]))
    desk.store(JoinNode(1, "n1", node.register()))
    refused = desk.submit(paints(1024, 30 * 1024, allow_infeasible=False))
    assert isinstance(refused, m.Failure)
    assert "infeasible" == refused.code
    assert "vram=31GiB" in refused.message
    assert "largest GPU has 8GiB of VRAM, wanted 31GiB" in refused.message
    assert {} == desk.core.tasks
    assert 2 == desk.submit(paints(1024, 1025, allow_infeasible=False)).count


def test_a_copy_asks_for_what_its_original_did(desk: Desk) -> None:
    old = desk.submit(paints(1024)).tasks
    copy_of(desk, old, priority=90)
    assert [(2 * GIB, 10)] == asked(desk.core)


def test_a_copy_may_ask_for_a_size_instead(desk: Desk) -> None:
    old = desk.submit(paints(1024)).tasks
    copy_of(desk, old, vram="", vram_bytes=3 * GIB)
    assert [(3 * GIB, 10)] == asked(desk.core)


def test_a_copy_cannot_ask_for_what_depends_on_arguments_anew(desk: Desk) -> None:
    old = desk.submit(paints(1024)).tasks
    with pytest.raises(Invalid, match="depends on arguments, which were read when"):
        copy_of(desk, old, vram="2MiB*width")


def test_what_is_to_be_learned_is_a_whole_card_until_then(desk: Desk) -> None:
    spec = {"kind": "function", "target": "m:paint", "vram": "auto", "size": "width"}
    desk.submit(paints(512, specs=[spec]))
    (task,) = desk.core.tasks.values()
    assert (1, "function m:paint ~9") == (task.spec.request.gpus, task.spec.request.learned)
    assert "cpus=1 vram=auto" == describe_request(task.spec.request)
    (again,) = recover(desk).tasks.values()
    assert task.spec.request == again.spec.request


CONTRADICTIONS = [
    ({"vram": "auto", "gpus": 2}, "vram: auto finds the share of one GPU"),
    ({"vram": "auto", "gpu_milli": 500}, "vram: auto finds the share of one GPU"),
    ({"vram": "auto", "vram_bytes": 5}, "vram: is given as a size and as something to work out"),
    ({"vram": "1GiB*"}, "vram: '1GiB\\*' ends too early"),
    ({"size": "width +"}, "size: 'width \\+' ends too early"),
    ({"vram": "1GiB*w", "gpu_milli": 500}, "gpus: a fraction together with vram is ambiguous"),
    ({"kind": "command", "argv": ["x"], "target": "", "vram": "1B*w"}, "vram: .* no keyword"),
    ({"kind": "handler", "target": "repair", "vram": "auto"}, "vram: a handler's worker has"),
    ({"kind": "handler", "target": "repair", "exclusive": True}, "exclusive: a handler's calls"),
    ({"nodes": ["a"], "not_nodes": ["a"]}, "not_nodes: a is asked for as well"),
    ({"gpu_cc": 80}, "gpu_cc: says which GPU, but none is asked for"),
    ({"alternatives": [{"colour": 1}]}, r"alternatives.0.colour: found 1; such fields are not"),
    ({"alternatives": [{"gpus": -1}]}, r"alternatives.0.gpus: found -1"),
    ({"alternatives": [{}, {"gpus": 1, "gpu_milli": 5}]}, "alternatives: the 2nd: gpus: ask for"),
    ({"alternatives": [{"gpu_type": "L4"}]}, "alternatives: the 1st: gpu_type: says which GPU"),
    ({"alternatives": [{}] * 9}, "alternatives: found .* at most 8"),
    ({"resources": {"licence": 0}}, "resources.licence: found 0"),
]


@pytest.mark.parametrize(("fields", "words"), CONTRADICTIONS)
def test_what_contradicts_itself_is_refused_by_field(
    desk: Desk, fields: dict[str, Any], words: str
) -> None:
    spec = {"kind": "function", "target": "m:paint", **fields}
    with pytest.raises(Invalid, match=rf"specs\[0\].{words}"):
        desk.judge(frame(specs=[spec]))


def test_alternatives_are_kept_as_they_were_said(desk: Desk) -> None:
    either = [{"gpus": 2, "gpu_type": "L4"}, {"cpus_milli": 8_000}, {}]
    desk.submit(frame(specs=[{**PAINT, "vram": "auto", "size": "", "alternatives": either}]))
    (task,) = desk.core.tasks.values()
    words = "cpus=1 vram=auto or cpus=1 gpus=2 gpu-type=L4 or cpus=8 or cpus=1"
    assert words == describe_request(task.spec.request)
    (again,) = recover(desk).tasks.values()
    assert task.spec.request == again.spec.request
