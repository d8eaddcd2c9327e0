"""Do the node's promises hold whatever is offered, killed, ended and repeated, in any order?"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from remuda.node import endings, residents, retiring
from remuda.node.effects import (
    CloseLane,
    Feed,
    Launch,
    OpenLane,
    StageIn,
    StopMoving,
    StoreOutputs,
)
from remuda.node.endings import LaneEnd
from remuda.node.outbox import RESEND_NS
from remuda.node.stops import TAKEN_BACK
from remuda.node.terms import Terms
from remuda.protocol import messages as m
from remuda.protocol.capabilities import Handler
from remuda.protocol.messages import Outcome, Phase
from remuda.protocol.resources import MILLI

from . import core_driver
from .core_driver import CARDS, GIB, CoreDriver, not_stored, read, spec, staged, stored, task

REQUESTS = (
    {},
    {"cpus_milli": 2000},
    {"gpus": 1},
    {"gpus": 2},
    {"gpu_milli": 400, "cpus_milli": 100},
    {"vram_bytes": 10 * GIB, "cpus_milli": 0},
    {"resources": {"licence": 1}, "cpus_milli": 500},
    {"exclusive": True, "cpus_milli": 0},
    {"exclusive": True, "gpus": 1},
)
TASKS = st.integers(1, 12).map(task)


def begin(machine, attempts):
    for attempt in attempts:
        assert attempt.key not in machine.running, "handed out twice"
        machine.running[attempt.key] = attempt


def end_worker(machine, lane_id, *, loaded):
    machine.workers.pop(lane_id, None)
    event = LaneEnd(lane_id, "worker_died", "it died", was_loaded=loaded)
    endings.on_lane_ended(machine.driver.state, event, machine.driver.now)


class MovesFiles(RuleBasedStateMachine):
    """A mover that prepares and stores when it pleases, or fails to."""

    def __init__(self):
        super().__init__()
        self.driver = CoreDriver(resources={"licence": 2})
        self.staging = set()
        self.storing = set()

    def take_order(self, effect):
        if isinstance(effect, StageIn):
            self.staging.add(effect.attempt.key)
        elif isinstance(effect, StoreOutputs):
            self.storing.add(effect.attempt.key)
        elif isinstance(effect, StopMoving):
            self.staging.discard(effect.key)
            self.storing.discard(effect.key)

    @rule(data=st.data(), fails=st.booleans())
    def end_a_preparation(self, data, fails):
        if self.staging:
            key = data.draw(st.sampled_from(sorted(self.staging)))
            self.staging.discard(key)
            if fails:
                endings.on_stage_failed(self.driver.state, key, "network", "no store")
            else:
                staged(self.driver, *key)

    @rule(data=st.data(), fails=st.booleans())
    def end_a_storing(self, data, fails):
        if self.storing:
            key = data.draw(st.sampled_from(sorted(self.storing)))
            self.storing.discard(key)
            if fails:
                not_stored(self.driver, key[0], "network", number=key[1])
            else:
                stored(self.driver, *key)

    def finish_moving(self):
        for waiting, finish in ((self.staging, staged), (self.storing, stored)):
            for key in sorted(waiting):
                finish(self.driver, *key)
            waiting.clear()


class HearsOfHandlers(MovesFiles):
    """What operators and configurations do to its handler."""

    @rule(off=st.booleans(), number=st.integers(0, 3))
    def order_about_handlers(self, off, number):
        disabled = {"greet": "it lies"} if off else {}
        reload = {"greet": number} if number else {}
        self.driver.say(m.HandlerOrders(b"i" * 16, b"d", {}, disabled, reload))

    @rule(vram_gib=st.sampled_from([6, 8]), on_demand=st.booleans(), verified=st.booleans())
    def declare_anew(self, vram_gib, on_demand, verified):
        handler = Handler("greet", workers=1, vram_bytes=vram_gib * GIB, on_demand=on_demand)
        terms = Terms(load_ns=5_000_000_000, is_verified_at_start=verified)
        retiring.redeclare(self.driver.state, handler, terms)


class NodeMachine(HearsOfHandlers):
    """A scheduler that errs and repeats itself, and runners that obey, against one core."""

    def __init__(self):
        super().__init__()
        residents.declare(self.driver.state, Handler("greet", workers=1, vram_bytes=6 * GIB))
        self.running = {}
        self.executed = {}
        self.workers = {}
        self.fresh = 100

    @rule(
        kind=st.sampled_from(["command", "function", "handler"]),
        request=st.sampled_from(REQUESTS),
        card=st.sampled_from(CARDS),
        name=TASKS,
        number=st.integers(1, 3),
        prefetched=st.booleans(),
        needs=st.sampled_from([{}, {"outputs": ["*"]}]),
    )
    def offer(self, kind, request, card, name, number, prefetched, needs):
        request = {**request, **needs}
        if kind == "handler":
            body, cards = spec(kind=kind, target="greet"), 0
        else:
            body = spec(kind=kind, argv=["x"], target="a:b", **request)
            cards = request.get("gpus", 1 if {"gpu_milli", "vram_bytes"} & set(request) else 0)
        gpus = list(CARDS) if cards == 2 else [card][:cards]
        self.driver.offer(body, name, number=number, gpus=gpus, prefetched=prefetched)

    @rule(kind=st.sampled_from(["command", "function", "handler"]), count=st.integers(2, 6))
    def offer_ahead(self, kind, count):
        target = "greet" if kind == "handler" else "a:b"
        names = [task(self.fresh + number) for number in range(count)]
        self.fresh += count
        body = spec(kind=kind, argv=["x"], target=target)
        self.driver.offer(body, *names, prefetched=True)

    @rule(run_us=st.integers(1, 5_000))
    def end_all(self, run_us):
        self.turn()
        for key in sorted(self.running):
            del self.running[key]
            self.executed[key] = self.executed.get(key, 0) + 1
            assert 1 == self.executed[key], "executed twice"
            self.driver.end(key[0], number=key[1], run_us=run_us)
            self.driver.state.check()

    @rule(name=TASKS, number=st.integers(1, 3), reason=st.sampled_from(["", TAKEN_BACK]))
    def kill(self, name, number, reason):
        self.driver.say(m.Kill(b"i" * 16, [name], [number], [-1], [reason]))

    @rule(names=st.sets(TASKS), back=st.integers(0, 3))
    def desired(self, names, back):
        listed = sorted(names)
        rev = max(0, self.driver.rev - back)
        self.driver.say(m.Desired(b"i" * 16, rev, 1000, listed, [1] * len(listed)))

    @rule()
    def turn(self):
        for effect in self.driver.turn():
            self.take_order(effect)
            if isinstance(effect, Launch):
                begin(self, [effect.attempt])
            elif isinstance(effect, Feed):
                assert effect.lane.id in self.workers
                begin(self, effect.attempts)
            elif isinstance(effect, OpenLane):
                self.workers[effect.lane.id] = effect.lane
            elif isinstance(effect, CloseLane):
                assert not effect.lane.open
                end_worker(self, effect.lane.id, loaded=True)

    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)), run_us=st.integers(1, 50_000))
    def end_one(self, data, outcome, run_us):
        if not self.running:
            return
        key = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[key]
        if outcome is not Outcome.RETURNED:
            self.executed[key] = self.executed.get(key, 0) + 1
            assert 1 == self.executed[key], "executed twice"
        self.driver.end(key[0], outcome, number=key[1], run_us=run_us)

    @rule()
    def load_all(self):
        self.turn()
        for lane_id in sorted(self.workers):
            endings.on_lane_ready(self.driver.state, lane_id, self.driver.now)

    @rule(data=st.data())
    def break_a_worker(self, data):
        if not self.workers:
            return
        lane_id = data.draw(st.sampled_from(sorted(self.workers)))
        for key in list(self.workers[lane_id].open):
            del self.running[key]
            self.executed[key] = 1
        end_worker(self, lane_id, loaded=False)

    @rule(data=st.data())
    def take_long(self, data):
        if self.running:
            key = data.draw(st.sampled_from(sorted(self.running)))
            endings.on_started(self.driver.state, [key], self.driver.now)

    @rule(seconds=st.integers(0, 30))
    def acknowledge(self, seconds):
        self.driver.now += seconds * 1_000_000_000
        taken = self.driver.state.outbox.take(self.driver.now)
        if taken is not None:
            results, _ = taken
            self.driver.say(m.ResultAck(b"i" * 16, results.tasks, results.attempts))
            for key in zip(results.tasks, results.attempts, strict=True):
                self.executed.pop(key, None)  # the scheduler offers no acknowledged attempt again

    @rule(dirty=st.sampled_from([(), (7,), (7, 8)]), alive=st.sampled_from([(), (7,)]))
    def read_cards_and_speak(self, dirty, alive):
        read(self.driver, core_driver.card(CARDS[0], *dirty), alive=alive)
        said = self.driver.core.messages(self.driver.now)
        for message in said:
            lengths = {len(getattr(message, name)) for name in message.COLUMNS}
            assert 1 == len(lengths)

    @invariant()
    def tables_agree_no_card_is_lent_beyond_itself_and_who_runs_is_held(self):
        self.driver.state.check()
        slots = self.driver.state.slots
        assert slots.resources_taken["licence"] <= 2
        alone = [charge for charge in slots.holders.values() if charge.exclusive]
        assert not alone or 1 == sum(isinstance(holder, int) for holder in slots.holders)
        for card in slots.cards.values():
            assert card.share_milli <= MILLI
            assert card.vram_bytes <= card.memory_bytes
        for key, attempt in self.running.items():
            assert self.driver.state.attempts.get(key) is attempt
            assert attempt.phase != Phase.ENDED

    def teardown(self):
        """Show that all comes to an end: every attempt has a result, every slot is free again."""
        # At least one attempt ends in a round, besides those that bring workers up or down.
        for _ in range(40 + len(self.driver.state.attempts)):
            self.turn()
            read(self.driver)
            for lane_id in sorted(self.workers):
                endings.on_lane_ready(self.driver.state, lane_id, self.driver.now)
            for key in sorted(self.running):
                del self.running[key]
                self.driver.end(key[0], number=key[1])
            self.turn()
            self.finish_moving()
            self.driver.now += RESEND_NS
            self.acknowledge(0)
        assert {} == self.driver.state.attempts
        assert 0 == self.driver.state.slots.cpus_taken_milli


NodeMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestTheNodesCore = NodeMachine.TestCase
