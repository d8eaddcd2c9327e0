"""Whatever happens around a restore: is nothing offered or stopped without an operator's word?

The fleet of `test_state_machine.py`, whose journal is put back to earlier moments.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler.events import CancelTasks, Event
from remuda.scheduler.records import Effects
from remuda.scheduler.task import State

from ...fakes.ground import SETTINGS
from ...fakes.guarded_node import GuardedNode
from ...fakes.restorable import Restorable
from .test_state_machine import Fleet, any_pick


class Watched(Restorable):
    """Looks at what a held scheduler says to nodes."""

    def step(self, *events: Event) -> Effects:
        # What is asked for can also be over in the same turn, before its words are delivered.
        cancels = [event for event in events if isinstance(event, CancelTasks)]
        self.cancelled_now = {task for event in cancels for task in event.ids}
        return super().step(*events)

    def _deliver(self, node: str, message: m.Message) -> None:
        held = self.core.recovery
        if held is not None:
            assert not isinstance(message, (m.Offer, m.Evict)), "work was given out"
            if isinstance(message, m.Kill):
                self._judge_kill(node, message)
        super()._deliver(node, message)

    def _judge_kill(self, node: str, message: m.Kill) -> None:
        held = self.core.recovery
        assert held is not None
        let_go = {(key.task, key.number) for key in held.outcasts if key.node == node}
        for blob, number in zip(message.tasks, message.attempts, strict=True):
            task = self.core.tasks.get(ids.from_bytes(blob))
            is_stopping = task is not None and task.state is State.STOPPING
            is_asked = is_stopping or ids.from_bytes(blob) in self.cancelled_now
            assert is_asked or (ids.from_bytes(blob), number) in let_go, "nobody asked for that"


class Restored(Fleet):
    """A fleet whose journal is put back, and an operator who decides at random."""

    world: Watched

    def __init__(self) -> None:
        super().__init__()
        self.stored_then: list[int] | None = None
        self.living: dict[tuple[str, int, int], None] = {}

    def make_world(self) -> Watched:
        return Watched(self.folder / "restorable", SETTINGS)

    @precondition(lambda self: self.world.core.recovery is None)
    @rule()
    def backup(self) -> None:
        self.world.backup()
        self.stored_then = list(self.stored)

    @precondition(lambda self: self.stored_then is not None)
    @rule()
    def restore(self) -> None:
        assert self.stored_then is not None
        self.world.restore()
        self.stored, self.stored_then = self.stored_then, None
        self.old_heartbeats.clear()

    @rule(pick=any_pick)
    def node_says_what_it_was_asked(self, pick) -> None:
        self.world.describe()

    @precondition(lambda self: self.world.core.recovery is not None)
    @rule(verb=st.sampled_from(["adopt", "kill", "rerun", "fail"]), pick=any_pick)
    def decide_on_one(self, verb, pick) -> None:
        held = self.world.core.recovery
        found = [key.task for key in held.strangers] if verb in ("adopt", "kill") else held.doubts
        if found:
            self.world.decide(verb, list(found)[pick % len(found)])
            self.take_in_adopted()

    @precondition(lambda self: self.world.core.recovery is not None)
    @rule(verb=st.sampled_from(["adopt", "kill", "rerun", "fail", "release"]))
    def decide_on_all(self, verb) -> None:
        self.world.decide(verb, everything=True)
        self.take_in_adopted()

    def take_in_adopted(self) -> None:
        self.stored += [task for task in self.world.core.tasks if task not in set(self.stored)]

    @invariant()
    def what_was_not_decided_lives(self) -> None:
        """No stranger ends by the scheduler's silence: what a node lists it may keep."""
        held = self.world.core.recovery
        for node in self.nodes.values():
            for task in node.killed[self.seen_kills(node) :]:
                if held is None:
                    continue
                known = self.world.core.tasks.get(task)
                is_let_go = any(key.task == task for key in held.outcasts)
                has_word = known is None or known.state is State.STOPPING or is_let_go
                assert has_word, f"{node.name} was made to stop {task}"
            self._kills[node.name] = len(node.killed)

    def seen_kills(self, node: GuardedNode) -> int:
        self._kills: dict[str, int] = getattr(self, "_kills", {})
        return min(self._kills.get(node.name, 0), len(node.killed))

    def finish_everything(self) -> None:
        """Have everything decided, then let the world be kind."""
        world = self.world
        if world.core.recovery is not None:
            for node in self.nodes.values():
                node.deaf = False
                world.join(node)
                world.heartbeat(node)
            world.describe()
            for verb in ("adopt", "kill", "rerun", "release"):  # what cannot be adopted is killed
                world.decide(verb, everything=True, force=True)
            self.take_in_adopted()
            assert world.core.recovery is None
        super().finish_everything()


def test_a_restored_core_does_nothing_without_a_word_and_everything_ends() -> None:
    run_state_machine_as_test(
        Restored,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            derandomize=True,
            report_multiple_bugs=False,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
