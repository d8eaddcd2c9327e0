"""Whatever happens in whatever order, does the core keep its word? A fleet driven by Hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler.events import CancelTasks, Event, JoinNode, NodeRevoked, NodeSays
from remuda.scheduler.task import ON_NODE, State

from ...fakes.ground import OWNERS, SHAPES, Ground
from ...fakes.handler_deeds import disable, enable, reload
from ...fakes.hostile import node_messages
from ...fakes.world import SECOND_NS, World

any_pick = st.integers(0, 1 << 16)
near_pick = st.integers(0, 2)


class Nodes(Ground):
    """What nodes do and say, and what happens to their messages."""

    @rule(pick=any_pick)
    def register(self, pick) -> None:
        self.world.join(self.pick_node(pick))

    @rule(pick=any_pick)
    def agent_restarts_and_finds_its_runners(self, pick) -> None:
        node = self.pick_node(pick)
        node.begin_life()
        self.world.join(node)

    @rule(pick=any_pick)
    def node_loses_its_memory(self, pick) -> None:
        node = self.pick_node(pick)
        node.lose_memory()
        self.world.join(node)

    @rule(pick=any_pick)
    def host_is_restarted(self, pick) -> None:
        node = self.pick_node(pick)
        node.lose_memory()
        node.boot_id += "'"
        self.world.join(node)

    @rule(pick=any_pick)
    def messages_to_a_node_get_lost_or_arrive_again(self, pick) -> None:
        node = self.pick_node(pick)
        node.deaf = not node.deaf

    @rule(pick=any_pick)
    def heartbeat(self, pick) -> None:
        node = self.pick_node(pick)
        said = node.heartbeat()
        self.old_heartbeats.append((self.world.epochs, node, said))
        self.world.says(node, said)

    @rule(pick=any_pick)
    def heartbeat_is_under_way(self, pick) -> None:
        node = self.pick_node(pick)
        self.old_heartbeats.append((self.world.epochs, node, node.heartbeat()))

    @precondition(lambda self: self.old_heartbeats)
    @rule(pick=any_pick)
    def old_heartbeat_arrives(self, pick) -> None:
        epoch, node, said = self.old_heartbeats[pick % len(self.old_heartbeats)]
        if epoch == self.world.epochs:  # the shell drops frames of another epoch
            self.world.says(node, said)

    @rule(pick=any_pick)
    def start(self, pick) -> None:
        if found := self.pick_held(pick, m.Phase.QUEUED):
            node, key = found
            node.held[key] = node.held[key][0], m.Phase.RUNNING
            self.world.says(node, m.Started([ids.to_bytes(key[0])], [key[1]]))

    @rule(
        pick=any_pick,
        outcome=st.sampled_from([m.Outcome.SUCCEEDED, *m.Outcome]),
        code=st.sampled_from(
            [
                "exit_code",
                "exception",
                "code_missing",
                "network",
                "out_of_memory",
                "gpu_out_of_memory",
                "node_lost",
                "result_not_encodable",
            ]
        ),
    )
    def end(self, pick, outcome, code) -> None:
        if found := self.pick_held(pick, m.Phase.QUEUED, m.Phase.RUNNING):
            node, key = found
            self.world.says(node, node.end(key, outcome, code))

    @rule(pick=any_pick)
    def results_are_said_again(self, pick) -> None:
        node = self.pick_node(pick)
        for said in [*node.unacked.values(), *node.said[-3:]]:
            self.world.says(node, said)

    @rule(pick=any_pick, token=st.sampled_from([b"", b"x" * 16]), thief=any_pick)
    def forged_result(self, pick, token, thief) -> None:
        """Neither a wrong token nor the right token from another node ends anything."""
        found = self.pick_held(pick, m.Phase.QUEUED, m.Phase.RUNNING)
        if found is None:
            return
        node, (task, number) = found
        speaker = self.pick_node(thief)
        self.world.step()  # what is due by now is not the forger's doing
        if speaker is not node:
            token, _ = node.held[task, number]
        before = self.world.state(task)
        self.world.says(
            speaker, m.Results([ids.to_bytes(task)], [number], [token], [0], [b""], [b""], [1])
        )
        assert before == self.world.state(task) or before in ("queued", "waiting")

    @rule(pick=any_pick, message=node_messages())
    def node_says_anything(self, pick, message) -> None:
        self.world.says(self.pick_node(pick), message)

    @rule(pick=any_pick)
    def key_of_a_node_is_revoked(self, pick) -> None:
        self.world.step(NodeRevoked(self.pick_node(pick).name))


class Operators(Nodes):
    """What a person does to nodes, whether or not it is true."""

    @rule(
        pick=any_pick, deadline_s=st.sampled_from([0, 1, 5]), reason=st.sampled_from(["", "fans"])
    )
    def drain(self, pick, deadline_s, reason) -> None:
        self.world.drain(self.pick_node(pick).name, reason=reason, deadline_s=deadline_s)

    @rule(pick=any_pick)
    def undrain(self, pick) -> None:
        self.world.undrain(self.pick_node(pick).name)

    @rule(pick=any_pick)
    def declare_lost(self, pick) -> None:
        self.world.declare_lost(self.pick_node(pick).name)

    @rule(pick=any_pick)
    def forget(self, pick) -> None:
        name = self.pick_node(pick).name
        if isinstance(self.world.forget(name), m.Done):
            assert name not in self.world.core.fleet.nodes


class HandlerDeeds(Operators):
    """What a person does to handlers: one that is disabled somewhere is granted no call there."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: set[tuple[int, int]] = set()

    @rule(
        pick=any_pick,
        name=st.sampled_from(["draw", "repair", "nothing"]),
        deed=st.sampled_from([disable, disable, enable, reload]),
        everywhere=st.booleans(),
    )
    def do_something_to_a_handler(self, pick, name, deed, everywhere) -> None:
        deed(self.world, name, "" if everywhere else self.pick_node(pick).name)

    @invariant()
    def what_is_disabled_gets_no_new_calls(self) -> None:
        calls = set()
        for node in self.world.core.fleet.nodes.values():
            for task in node.held.values():
                if task.live is None or not task.live.request.handler:
                    continue
                key = (task.id, task.live.number)
                calls.add(key)
                assert key in self.calls or task.live.request.handler not in node.disabled
        self.calls = calls


class Fleet(HandlerDeeds):
    """Nodes, clients, operators, time and a scheduler that may be killed at any moment."""

    @rule(
        count=st.integers(1, 4),
        shape=st.sampled_from(SHAPES),
        priority=st.sampled_from([10, 50, 50, 90]),
        retries=st.integers(0, 2),
        owner=st.sampled_from(OWNERS),
        if_node_lost=st.sampled_from(["rerun", "rerun", "fence", "fail"]),
    )
    def submit(self, count, shape, priority, retries, owner, if_node_lost) -> None:
        self.store(
            count, shape, priority=priority, retries=retries, owner=owner, if_node_lost=if_node_lost
        )

    @rule(
        shape=st.sampled_from(SHAPES),
        deadline_s=st.sampled_from([0, 2, 20]),
        limits=st.sampled_from(
            [{}, {"expires_ms": 1_000}, {"start_timeout_ms": 1_000}, {"never_on": ["timeout"]}]
        ),
    )
    def submit_with_limits(self, shape, deadline_s, limits) -> None:
        deadline_ms = self.world.now.wall_ms + deadline_s * 1_000 if deadline_s else 0
        self.store(1, shape, deadline_ms=deadline_ms, **limits)

    @precondition(lambda self: self.stored)
    @rule(pick=any_pick, count=st.integers(1, 3), owner=st.sampled_from(["", *OWNERS]))
    def cancel(self, pick, count, owner) -> None:
        tasks = [self.stored[(pick + i) % len(self.stored)] for i in range(count)]
        before = {task: self.world.state(task) for task in tasks}
        verdicts = self.world.cancel(*tasks, owner=owner)
        for task, verdict in zip(tasks, verdicts, strict=True):
            if verdict == "not_allowed":
                # Its own deadline may end it in the same turn, where the clock was set.
                assert self.world.state(task) in (before[task], "assigned", "failed", "stopping")
            elif verdict == "stopping":
                assert "stopping" == self.world.state(task)

    @rule(
        picks=st.lists(
            st.tuples(
                st.sampled_from(["cancel", "heartbeat", "join", "start", *m.Outcome]), near_pick
            ),
            min_size=2,
            max_size=6,
        )
    )
    def much_happens_in_one_turn(self, picks) -> None:
        events = [event for verb, pick in picks if (event := self.event_of(verb, pick))]
        self.world.step(*events)

    def event_of(self, verb: str | m.Outcome, pick: int) -> Event | None:
        node = self.pick_node(pick)
        if verb == "heartbeat":
            return NodeSays(node.name, node.heartbeat())
        if verb == "join":
            return JoinNode(pick, node.name, node.register())
        found = self.pick_held(pick, m.Phase.QUEUED, m.Phase.RUNNING)
        if found is None:
            return None
        node, key = found
        if verb == "cancel":
            return CancelTasks(pick, "admin", "", [key[0]], -1)
        if isinstance(verb, m.Outcome):
            return NodeSays(node.name, node.end(key, verb, "exception"))
        return NodeSays(node.name, m.Started([ids.to_bytes(key[0])], [key[1]]))

    @rule(seconds=st.sampled_from([0.2, 1.0, 3.0, 6.0, 61.0]))
    def time_passes(self, seconds) -> None:
        self.world.later(seconds)

    @rule(hours=st.sampled_from([-1, 1]))
    def clock_is_set(self, hours) -> None:
        self.world.wall_set_ns += hours * 3_600 * SECOND_NS

    @rule()
    def scheduler_is_killed(self) -> None:
        before = standing(self.world)
        self.world.restart()
        assert before == standing(self.world)


def standing(world: World) -> tuple[object, ...]:
    """Return what a restart must bring back: all but whether a node was heard to have started."""
    tasks = {
        task.id: (
            task.number, State.ASSIGNED if task.state is State.RUNNING else task.state,
            task.attempt, task.charged, task.avoid, task.spec, task.session,
            task.stop, task.grace_ms, task.spent or None, task.created_ms,
            (task.live.number, task.live.node, task.live.token, task.live.gpus)
            if task.state in ON_NODE and task.live else None,
        )
        for task in world.core.tasks.values()
    }  # fmt: skip
    cards = {
        (node.name, card.gpu.uuid): (card.share_milli, card.vram_bytes)
        for node in world.core.fleet.nodes.values()
        for card in node.cards.values()
    }
    nodes = {
        node.name: (node.drain, node.lost, node.boot_id, node.capabilities, node.disabled)
        for node in world.core.fleet.nodes.values()
    }
    asked = world.core.handlers.rows
    return tasks, cards, nodes, asked, world.core.next_number, world.core.next_spec_id


def test_the_core_keeps_its_word_whatever_happens() -> None:
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            max_examples=100,
            stateful_step_count=50,
            derandomize=True,
            report_multiple_bugs=False,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
