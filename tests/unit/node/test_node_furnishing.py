"""Does an attempt with requirements wait for its environment, and for nothing else?"""

from __future__ import annotations

from dataclasses import dataclass, field

from remuda.node import furnishing, stops
from remuda.node.effects import Forget, Launch, StageIn, StopMoving
from remuda.node.environments import Failure, Made
from remuda.node.interpreters import Interpreter, NotOffered
from remuda.node.task import Attempt, Key
from remuda.protocol import codec
from remuda.protocol.messages import Outcome

from .core_driver import CoreDriver, reasons, spec, task

NEEDS = spec(argv=["true"], requirements="six", python="sd")


@dataclass
class Premises:
    """Environments that are made when the test says so."""

    known: dict[str, Made] = field(default_factory=dict)
    wanted: dict[Key, str] = field(default_factory=dict)
    done: list[Made] = field(default_factory=list)

    @property
    def environments(self):
        return self

    def base(self, python: str) -> Interpreter | None:
        if python != "sd":
            raise NotOffered(f"this node has no python {python!r}")
        return None

    def want(self, key: Key, base: object, requirements: str, now: int) -> Made | None:
        self.wanted[key] = requirements
        return self.known.get(requirements)

    def let_go(self, key: Key) -> None:
        self.wanted.pop(key, None)

    def look(self, now: int) -> list[Made]:
        done, self.done = self.done, []
        return done


class Stage:
    """As much of the shell as environments need."""

    def __init__(self, driver: CoreDriver) -> None:
        self.driver = driver
        self.state = driver.state
        self.premises = Premises()
        self.moving = self
        self.moved: list[bytes] = []

    def prepare(self, attempt: Attempt) -> None:
        """Play the mover."""
        self.moved.append(attempt.task)

    def turn(self) -> list[object]:
        furnishing.on_time(self, self.driver.now)  # type: ignore[arg-type]  # all that it reads
        effects = self.driver.turn()
        for effect in effects:
            if isinstance(effect, StageIn):
                furnishing.begin(self, effect.attempt, 0)  # type: ignore[arg-type]  # as above
            elif isinstance(effect, (StopMoving, Forget)):
                furnishing.let_go(self, effect.key)  # type: ignore[arg-type]  # as above
        return effects


def scene(body: bytes = NEEDS) -> tuple[Stage, CoreDriver]:
    driver = CoreDriver(cpus=2)
    stage = Stage(driver)
    driver.offer(body, task(1))
    return stage, driver


def test_it_waits_until_its_environment_is_made_and_says_so():
    stage, driver = scene()
    stage.turn()
    assert {(task(1), 1): "six"} == stage.premises.wanted
    assert [furnishing.WAITING] == [text for _, text in driver.state.progress.values()]
    assert [] == driver.launched()
    stage.premises.done.append(Made([(task(1), 1)], None))
    stage.turn()
    assert [task(1)] == driver.launched()


def test_it_begins_at_once_where_the_environment_is_there():
    stage, driver = scene()
    stage.premises.known["six"] = Made([(task(1), 1)], None)
    stage.turn()
    stage.turn()
    assert [task(1)] == driver.launched()


def test_files_are_moved_once_its_environment_is_made():
    stage, driver = scene(spec(argv=["true"], requirements="six", python="sd", outputs=["*"]))
    stage.turn()
    assert [] == stage.moved
    stage.premises.done.append(Made([(task(1), 1)], None))
    stage.turn()
    assert [task(1)] == stage.moved
    assert [] == driver.launched()


def test_files_alone_are_moved_at_once():
    stage, _ = scene(spec(argv=["true"], outputs=["*"]))
    stage.turn()
    assert ([task(1)], {}) == (stage.moved, stage.premises.wanted)


def test_it_fails_with_the_installers_word_and_gives_its_slot_back():
    stage, driver = scene()
    stage.turn()
    failure = Failure("environment_failed", "no six==99", "ERROR: no six==99\n")
    stage.premises.done.append(Made([(task(1), 1)], failure))
    stage.turn()
    ((answer, _),) = driver.state.outbox.entries.values()
    details = codec.unpack_document(answer.details)
    assert (Outcome.FAILED, "environment_failed") == (answer.outcome, answer.code)
    assert "the environment could not be made: no six==99" == details["message"]
    assert b"ERROR: no six==99\n" == details["err"]
    assert {} == driver.state.slots.holders


def test_a_task_that_is_cancelled_meanwhile_ends_at_once_and_lets_the_build_go():
    stage, driver = scene()
    stage.turn()
    stops.stop(driver.state, driver.state.attempts[task(1), 1], -1, "cancelled")
    stage.turn()
    assert {task(1): Outcome.KILLED} == driver.results()
    assert {} == stage.premises.wanted
    stage.premises.done.append(Made([(task(1), 1)], None))
    stage.turn()
    assert [] == driver.of(Launch)


def test_an_interpreter_that_is_not_offered_any_more_refuses_it():
    stage, driver = scene(spec(argv=["true"], requirements="six", python="gone"))
    stage.turn()
    assert ["this node has no python 'gone'"] == reasons(driver)
    assert {} == driver.state.attempts
    driver.state.check()


def test_it_holds_its_environment_until_its_result_is_acknowledged():
    stage, driver = scene()
    stage.premises.known["six"] = Made([(task(1), 1)], None)
    stage.turn()
    stage.turn()
    driver.end(task(1))
    stage.turn()
    assert {(task(1), 1): "six"} == stage.premises.wanted
    driver.ack(task(1))
    stage.turn()
    assert {} == stage.premises.wanted
