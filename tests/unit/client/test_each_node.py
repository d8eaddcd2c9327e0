"""Which nodes does a command run on that is to run on each, and what is said of the others?"""

from typing import Any

import pytest

from remuda.client.each_node import Chosen, NodeRun, choose, node_rows, worst
from remuda.protocol.errors import Invalid, NotFound, Refused


def row(name, state="ready", reason="", **labels):
    return {
        "name": name,
        "state": state,
        "labels": labels,
        "drain": {"reason": reason} if reason else {},
    }


NO_DEPOT: Any = None  # nothing is brought along
FLEET = [
    row("b", zone="x"),
    row("a"),
    row("c", "drained", "bad fan", zone="x"),
    row("d", "lost"),
]


def test_every_ready_node_is_meant_and_the_others_are_named():
    skipped = {"c": "drained: bad fan", "d": "lost: it is off"}
    assert Chosen(("a", "b"), skipped) == choose(FLEET, {})


@pytest.mark.parametrize(
    ("options", "nodes", "skipped"),
    [
        ({"labels": {"zone": "x"}}, ("b",), ["c"]),
        ({"nodes": ["a", "d"]}, ("a",), ["d"]),
        ({"node": "a"}, ("a",), []),
        ({"not_node": ["a", "c"]}, ("b",), ["d"]),
        ({"node": ["a", "b"], "node_label": "zone=x"}, ("b",), []),
    ],
)
def test_options_narrow_which_nodes_are_meant(options, nodes, skipped):
    chosen = choose(FLEET, options)
    assert (nodes, skipped) == (chosen.nodes, list(chosen.skipped))


def test_a_node_that_there_is_not_is_named():
    with pytest.raises(NotFound, match="no node gpu-7"):
        choose(FLEET, {"node": ["a", "gpu-7"]})


def test_an_alternative_that_names_a_node_is_refused():
    with pytest.raises(Invalid, match="leave node= out") as caught:
        choose(FLEET, {"gpus": 1, "or": ["gpus=0", "gpus=0,node=b"]})
    assert "or" == caught.value.field
    assert ("a", "b") == choose(FLEET, {"gpus": 1, "or": ["gpus=0"]}).nodes


@pytest.mark.parametrize(
    ("options", "said"),
    [({"node": "c"}, "c is drained: bad fan"), ({"labels": {"zone": "y"}}, "none is like that")],
)
def test_where_no_node_is_ready_the_reason_is_said(options, said):
    with pytest.raises(Refused, match=said):
        choose(FLEET, options)


@pytest.mark.parametrize(("given", "cpus"), [({}, 0), ({"cpus": 2}, 2_000)])
def test_each_node_gets_a_task_that_books_only_what_was_asked_for(given, cpus):
    options = {**given, "nodes": ["a", "b", "c"], "timeout": "5s"}
    rows = list(node_rows(["uptime"], choose(FLEET, options), options, NO_DEPOT))
    assert [["a"], ["b"]] == [spec["nodes"] for spec, *_ in rows]
    assert [(cpus, 5_000, ["uptime"])] * 2 == [
        (spec.get("cpus_milli"), spec["timeout_ms"], spec["argv"]) for spec, *_ in rows
    ]


def ran(state, exit_code):
    return NodeRun("a", "ID.0", state, "", exit_code, "", "", None)


@pytest.mark.parametrize(
    ("runs", "code"),
    [
        ([ran("succeeded", 0), ran("succeeded", 0)], 0),
        ([ran("succeeded", 0), ran("failed", 3), ran("failed", 1)], 3),
        ([ran("cancelled", 125), ran("failed", 1)], 125),
    ],
)
def test_the_largest_exit_code_speaks_for_all(runs, code):
    assert code == worst(runs)
