"""Does the agent tell its mover what the core asks for, and the core what came of it?"""

import sys

import pytest

from remuda.node import mover_orders
from remuda.node.effects import OpenLane, StageIn, StoreOutputs
from remuda.node.mover.words import (
    Cancel,
    Deliver,
    Delivered,
    End,
    Failed,
    InUse,
    Moved,
    Ping,
    Prepare,
    Prepared,
    Reach,
    Setup,
    Silent,
)
from remuda.node.moving import Moving, alarms
from remuda.node.porter import PING_NS, Porter
from remuda.protocol import claims
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome
from remuda.protocol.spec import FileRow
from remuda.worker.batches import attempt_key

from ...fakes.raw import wait_for
from .core_driver import CoreDriver, details, spec, task

SECOND = 1_000_000_000
NAME = attempt_key(task(1), 1)
IN = FileRow(b"d" * 32, 4, "file")
PROJECT = b"p" * 32


class ScriptedPorter:
    """A mover that hears all, and says what a test has it say; it can be kept from starting."""

    def __init__(self):
        self.told = []
        self.says = []
        self.lives = 0
        self.is_up = False
        self.is_full = False
        self.can_start = True

    def start(self, now):
        if self.can_start and not self.is_up:
            self.is_up = True
            self.lives += 1
        return self.is_up

    def tell(self, word):
        if self.is_up:
            self.told.append(word)

    def hear(self, now):
        says, self.says = self.says, []
        return says

    def on_time(self, now):
        pass

    def deadline(self):
        return None

    def die(self):
        self.is_up = False
        self.told.clear()


class Agent:
    """A core and its mover, without the rest."""

    def __init__(self, folder):
        self.driver = CoreDriver(cpus=100)
        self.porter = ScriptedPorter()
        self.moving = Moving(self.driver.state, self.porter, folder, 10 * SECOND)

    def offer(self, body, name=None, **fields):
        self.driver.offer(body, name or task(1), **fields)
        self.turn()

    def turn(self, ms=1):
        for effect in self.driver.turn(ms):
            if isinstance(effect, StageIn):
                self.moving.prepare(effect.attempt)
            elif isinstance(effect, StoreOutputs):
                self.moving.deliver(effect.attempt, effect.answer, self.moving.tasks_dir)
            elif isinstance(effect, OpenLane):
                self.moving.projects[effect.lane.id] = effect.attempt.plan.spec.project
        self.moving.speak(self.driver.now)

    def say(self, *words):
        self.porter.says += words
        self.moving.hear(self.driver.now)
        self.turn()

    def told(self, kind):
        return [word for word in self.porter.told if isinstance(word, kind)]


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path)


def claim_of(digest):
    return claims.sign(b"s" * 32, claims.Verb.READ, "n", claims.Claim(digest, 4, 1 << 50))


def test_no_mover_is_started_for_tasks_without_needs(agent):
    agent.offer(spec(argv=["true"]))
    assert 0 == agent.porter.lives


def test_a_command_gets_its_files_and_project_and_no_objects_but_its_input(agent):
    body = spec(argv=["x"], files={"in": IN}, project=PROJECT, stdin_object=b"s" * 32)
    blob = claim_of(IN.digest) + claim_of(PROJECT) + claim_of(b"s" * 32)
    agent.offer(body, spec_inputs=[blob])
    expected = Prepare(NAME, True, [("in", *IN)], [b"s" * 32], PROJECT, True, blob)
    assert [expected] == agent.told(Prepare)


def test_a_call_gets_the_objects_that_its_argument_names(agent):
    body = spec(kind="function", target="a:b", project=PROJECT)
    blobs = claim_of(PROJECT), claim_of(b"v" * 32)
    agent.offer(body, inputs=[blobs[1]], spec_inputs=[blobs[0]])
    expected = Prepare(NAME, True, [], [b"v" * 32], PROJECT, False, blobs[0] + blobs[1])
    assert [expected] == agent.told(Prepare)


def test_a_call_with_nothing_but_code_needs_no_directory(agent):
    body = spec(kind="function", target="a:b", project=PROJECT)
    agent.offer(body, spec_inputs=[claim_of(PROJECT)])
    assert [False] == [word.has_directory for word in agent.told(Prepare)]


def test_a_mover_that_is_prepared_lets_the_task_begin(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.say(Prepared(NAME))
    assert [task(1)] == agent.driver.launched()


def run_to_its_end(agent, **answer):
    agent.offer(spec(argv=["x"], outputs=["*.png"], keep_log=True))
    agent.say(Prepared(NAME))
    agent.driver.end(task(1), **answer)
    agent.turn()


def test_outputs_and_logs_are_asked_for_and_come_into_the_result(agent):
    run_to_its_end(agent, printed=9)
    logs_dir = str(agent.moving.tasks_dir / "a" / NAME)
    assert [Deliver(NAME, ["*.png"], False, logs_dir)] == agent.told(Deliver)
    agent.say(Delivered(NAME, [["a.png", b"d" * 32, 4, "file"]], {"out": [b"l" * 32, 9]}, b"c"))
    told = {"outputs": [["a.png", b"d" * 32, 4, "file"]], "logs": {"out": [b"l" * 32, 9]}}
    assert told == details(agent.driver, task(1))


def test_only_the_log_of_a_failure_is_stored(agent):
    run_to_its_end(agent, outcome=Outcome.FAILED, printed=9)
    assert [[]] == [word.patterns for word in agent.told(Deliver)]


def test_a_failure_of_the_mover_ends_the_task(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.say(Failed(NAME, "input_missing", "gone"))
    assert {"code": "input_missing", "message": "gone"} == details(agent.driver, task(1))


def test_how_far_it_is_comes_as_progress_of_the_task(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.say(Moved(NAME, 3 << 29, 3 << 30))
    (word,) = agent.driver.said(m.Progress)
    assert ([0], ["stage: 50 % of 3GiB"]) == (word.milli, word.texts)


def test_a_store_that_does_not_answer_is_an_alarm_until_it_answers(agent):
    agent.moving.move(Reach("h", 7704, "k"))
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.say(Silent(True))
    assert ["the store at h:7704 does not answer: 1 task waits for it"] == alarms(agent.moving)
    agent.say(Silent(False))
    assert [] == alarms(agent.moving)


def test_without_a_store_the_alarm_says_that_the_scheduler_knows_none(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.offer(spec(argv=["x"], outputs=["*"]), task(2))
    agent.say(Silent(True))
    assert ["the scheduler knows no store: 2 tasks wait for it"] == alarms(agent.moving)


def test_a_silent_store_for_which_nobody_waits_any_more_is_no_alarm(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.say(Silent(True), Prepared(NAME))
    assert [] == alarms(agent.moving)


def test_a_new_mover_has_to_find_out_by_itself_that_the_store_is_silent(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.say(Silent(True))
    agent.porter.die()
    agent.turn()
    assert [] == alarms(agent.moving)


def test_a_task_that_waits_for_a_silent_store_says_so(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.say(Silent(True))
    (word,) = agent.driver.said(m.Progress)
    assert ["stage: the store does not answer"] == word.texts


def test_a_task_that_comes_to_a_silent_store_says_so(agent):
    run_to_its_end(agent, printed=9)
    agent.say(Silent(True))
    agent.offer(spec(argv=["x"], outputs=["*"]), task(2))
    (word,) = agent.driver.said(m.Progress)
    texts = ["store: the store does not answer", "stage: the store does not answer"]
    assert ([1000, 0], texts) == (word.milli, word.texts)


def test_a_new_mover_is_told_everything_again(agent):
    agent.moving.move(Reach("h", 7704, "k"))
    agent.offer(spec(argv=["x"], outputs=["*"]))
    first = list(agent.porter.told)
    agent.porter.die()
    agent.turn()
    assert (2, first) == (agent.porter.lives, agent.porter.told)
    assert [Reach, Prepare] == [type(word) for word in first]


def test_what_every_mover_dies_of_is_given_up(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    for _ in range(mover_orders.TRIES_MAX):
        assert {} == agent.driver.results()
        agent.porter.die()
        agent.turn()
    assert "network" == details(agent.driver, task(1))["code"]


def test_tasks_fail_when_no_mover_can_be_started_for_long(agent):
    agent.porter.can_start = False
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.turn(9_000)
    assert {} == agent.driver.results()
    agent.turn(2_000)
    assert "network" == details(agent.driver, task(1))["code"]


def test_an_order_that_is_given_up_is_told_and_its_answer_means_nothing(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    agent.moving.give_up((task(1), 1))
    agent.say(Prepared(NAME))
    assert ([Cancel(NAME)], []) == (agent.told(Cancel), agent.driver.launched())


def test_the_end_of_an_attempt_is_told_once_and_only_of_those_with_something_on_disk(agent):
    agent.offer(spec(argv=["x"], outputs=["*"]))
    for _ in range(2):
        agent.moving.forget((task(1), 1))
        agent.moving.forget((task(2), 1))
    assert [End(NAME)] == agent.told(End)


def test_a_mover_has_a_bounded_number_of_orders_at_a_time(agent):
    count = mover_orders.TOLD_MAX + 6
    agent.driver.offer(
        spec(argv=["x"], outputs=["*"], cpus_milli=0), *map(task, range(1, count + 1))
    )
    agent.turn()
    assert mover_orders.TOLD_MAX == len(agent.told(Prepare))
    agent.say(Prepared(NAME))
    assert mover_orders.TOLD_MAX + 1 == len(agent.told(Prepare))


def test_projects_of_living_workers_are_told_until_they_are_gone(agent):
    agent.offer(spec(kind="function", target="a:b", project=PROJECT))
    agent.say(Prepared(NAME))
    agent.turn()
    assert [InUse([PROJECT])] == agent.told(InUse)
    agent.moving.projects[99] = PROJECT  # another worker of it, which has ended meanwhile
    agent.turn()
    assert [InUse([PROJECT])] == agent.told(InUse)
    agent.moving.projects.clear()
    agent.turn()
    assert [InUse([PROJECT]), InUse([])] == agent.told(InUse)


def test_what_an_earlier_agent_left_starts_a_mover(agent):
    (agent.moving.tasks_dir / "ab.1").mkdir()
    agent.moving.begin(0)
    assert 1 == agent.porter.lives


SETUP = Setup("/nowhere", 1, 1, 1, 1.0, 1.0, 1, 1, "", "", [])
DEAF = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_mover_that_is_silent_is_killed_and_replaced():
    porter = Porter(lambda: SETUP, DEAF, silence_ns=10 * SECOND)
    try:
        assert porter.start(0)
        first = porter.pid
        porter.on_time(PING_NS)
        porter.on_time(10 * SECOND)
        assert not porter.is_up
        assert porter.start(20 * SECOND)
        assert (2, False) == (porter.lives, porter.pid == first)
    finally:
        porter.close()


def test_the_end_of_a_mover_is_noticed_and_the_next_one_waits_a_moment():
    porter = Porter(lambda: SETUP, [sys.executable, "-c", "pass"])
    try:
        assert porter.start(0)
        wait_for(lambda: [porter.hear(0), not porter.is_up][1], "its end")
        assert (False, True) == (porter.start(SECOND // 2), porter.start(2 * SECOND))
    finally:
        porter.close()


def test_a_mover_that_cannot_be_started_is_said_so_and_harms_nobody():
    porter = Porter(lambda: SETUP, ["/nowhere/python"])
    assert not porter.start(0)
    porter.tell(Ping())
    assert ([], None) == (porter.hear(0), porter.deadline())
    porter.close()
