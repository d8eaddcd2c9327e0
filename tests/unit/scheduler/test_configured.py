"""Do nodes hear what they are to go by until they say that they do, or why not?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.protocol import messages as m
from remuda.protocol.configured import NodeConfig, Shown, digest_of, to_document
from remuda.protocol.errors import Conflict
from remuda.scheduler.config_queries import show_config
from remuda.scheduler.configured import behind, state_of

from ...fakes.configured_world import ANA, ConfiguredWorld, TunedNode, Viewed


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ConfiguredWorld]:
    made = ConfiguredWorld(tmp_path)
    for name in ("n1", "n2"):
        join(made, name)
    yield made
    made.close()


def join(world: ConfiguredWorld, name: str, protocol: int = 0) -> TunedNode:
    known = world.node(name)
    node = TunedNode(name, known.capabilities)
    node.rev, node.protocol = known.rev, protocol or known.protocol
    world.nodes[name] = node
    return node


def states(world: ConfiguredWorld) -> dict[str, str]:
    return {name: state_of(world.core, node).word for name, node in world.core.fleet.nodes.items()}


def told(world: ConfiguredWorld, name: str) -> m.Configure | None:
    node = world.nodes[name]
    assert isinstance(node, TunedNode)
    return node.told


def test_a_cluster_in_which_nothing_was_changed_tells_nobody(world: ConfiguredWorld) -> None:
    world.keep_alive(5, *world.nodes.values())
    assert {"n1": "confirmed", "n2": "confirmed"} == states(world)
    assert (None, None) == (told(world, "n1"), told(world, "n2"))


def test_what_a_node_goes_by_is_asked_of_its_own_report(world: ConfiguredWorld) -> None:
    view: Any = Viewed(world)
    question = m.ShowConfig("node.runner_idle", "n1")
    with pytest.raises(Conflict, match="n1 has not said what it goes by"):
        show_config(view, question, ANA, world.now)
    said = world.nodes["n1"].heartbeat()
    shown = {"node.runner_idle": Shown('"33s"', "environment REMUDA_X", "env")}
    said.config = to_document(NodeConfig(waiting=("node.cpus",), entries=shown))
    world.says(world.nodes["n1"], said)
    (row,) = show_config(view, question, ANA, world.now).body["entries"]
    assert ("33s", "environment REMUDA_X", "env") == (row["value"], row["origin"], row["layer"])
    rows = show_config(view, m.ShowConfig("node", "n1"), ANA, world.now).body["entries"]
    assert ["node.cpus"] == [each["key"] for each in rows if each.get("restart")]
    edits = [{"key": "node.runner_idle", "value": "2m", "node": "n1"}]
    assert "set on n1 by environment REMUDA_X" in world.refusal("set", edits=edits)
    edits = [{"key": "node.runner_idle", "value": "2m"}]
    assert ["node.runner_idle has no effect on n1: it is set by environment REMUDA_X"] == (
        world.ask("set", edits=edits)["notes"]
    )


def test_what_only_the_scheduler_reads_is_told_to_no_node(world: ConfiguredWorld) -> None:
    world.set(scheduler__lease="20s")
    assert {"n1": "confirmed", "n2": "confirmed"} == states(world)


def test_nodes_confirm_with_their_next_heartbeats(world: ConfiguredWorld) -> None:
    world.set(node__runner_idle="33s")
    assert {"n1": "behind", "n2": "behind"} == states(world)
    world.keep_alive(5, *world.nodes.values())
    assert {"n1": "confirmed", "n2": "confirmed"} == states(world)
    found = told(world, "n1")
    assert found is not None
    assert {"node.runner_idle": "33s"} == {key: row[0] for key, row in found.changes.items()}
    assert digest_of(found.changes, found.reloads) == found.digest


def test_what_is_for_one_node_is_before_what_is_for_all(world: ConfiguredWorld) -> None:
    world.set(node__runner_idle="33s")
    world.set(node="n1", node__runner_idle="11s")
    world.keep_alive(5, *world.nodes.values())
    seen = [told(world, name).changes["node.runner_idle"][0] for name in ("n1", "n2")]  # type: ignore[union-attr]  # both were told
    assert ["11s", "33s"] == seen


def test_a_deaf_node_is_told_again_until_it_hears(world: ConfiguredWorld) -> None:
    world.nodes["n2"].deaf = True
    world.set(node__runner_idle="33s")
    world.keep_alive(5, *world.nodes.values())
    assert {"n1": "confirmed", "n2": "behind"} == states(world)
    world.nodes["n2"].deaf = False
    world.keep_alive(5, *world.nodes.values())
    assert [] == list(behind(world.core))


def test_a_node_that_refuses_is_named_with_its_reason_and_not_told_again(world) -> None:
    world.nodes["n1"].refusing = "its disk is full"
    world.set(node__runner_idle="33s")
    world.keep_alive(5, *world.nodes.values())
    ((node, state),) = behind(world.core)
    assert ("n1", "refused", "its disk is full") == (node.name, *state)
    world.nodes["n1"].told = None
    world.heartbeat(world.nodes["n1"])
    assert None is told(world, "n1")


def test_a_node_of_an_older_protocol_cannot_and_is_not_told(world: ConfiguredWorld) -> None:
    world.core.fleet.nodes["n1"].protocol = 4
    world.set(node__runner_idle="33s")
    world.keep_alive(5, world.nodes["n2"])
    assert ("cannot", "it speaks protocol 4: upgrade its agent") == tuple(
        state_of(world.core, world.core.fleet.nodes["n1"])
    )


def test_a_silent_node_is_away_and_converges_when_it_is_heard(world: ConfiguredWorld) -> None:
    world.keep_alive(10, world.nodes["n2"])
    world.set(node__runner_idle="33s")
    world.keep_alive(4, world.nodes["n2"])
    assert {"n1": "away", "n2": "confirmed"} == states(world)
    world.keep_alive(5, *world.nodes.values())
    assert [] == list(behind(world.core))


def test_a_scheduler_that_starts_anew_still_knows_what_nodes_are_to_go_by(world) -> None:
    world.set(node__runner_idle="33s")
    world.start_again()
    assert {"n1": "away", "n2": "away"} == states(world)
    assert b"" != world.core.wanted.of("n1")[0]


def test_a_reload_is_told_to_every_node_even_if_nothing_else_is(world: ConfiguredWorld) -> None:
    world.ask("reload")
    world.keep_alive(5, *world.nodes.values())
    found = told(world, "n2")
    assert found is not None
    assert (1, {}) == (found.reloads, found.changes)


def test_a_report_that_is_none_is_refused_and_the_node_lives_on(world: ConfiguredWorld) -> None:
    said = world.nodes["n1"].heartbeat()
    said.config = {"entries": {"a": ["b"]}}
    effects = world.says(world.nodes["n1"], said)
    assert ["report of a configuration refused"] == [note.event for note in effects.notes]
    assert world.core.fleet.nodes["n1"].connected
