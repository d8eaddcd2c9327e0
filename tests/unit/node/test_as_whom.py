"""Does a node run commands as the users of their owners, and refuse what it cannot?"""

from pathlib import Path

import pytest

from remuda.node.as_whom import CODE, AsWhom
from remuda.node.effects import StageIn
from remuda.protocol import codec
from remuda.protocol.failures import FailureClass, class_of
from remuda.protocol.messages import Outcome, Phase
from remuda.scheduler.retry import PACKAGED, Placement

from .core_driver import CoreDriver, spec, staged, task

MAPPED = AsWhom({"ann": "alice"}, "refuse", "/run/helper")


def test_without_users_all_work_is_the_agents_own() -> None:
    nobody = AsWhom()
    assert ["", ""] == [nobody.user_of("ann", "command"), nobody.refusal("ann", "function")]


@pytest.mark.parametrize(
    ("owner", "kind", "user", "why"),
    [
        ("ann", "command", "alice", ""),
        ("ann", "handler", "", ""),
        ("ann", "function", "", "which it can do with commands alone"),
        ("bob", "command", "", "runs nothing for owner 'bob'"),
        ("bob", "function", "", "runs nothing for owner 'bob'"),
        ("bob", "handler", "", ""),
    ],
)
def test_each_kind_of_work_runs_as_its_user_or_says_why_not(
    owner: str, kind: str, user: str, why: str
) -> None:
    assert user == MAPPED.user_of(owner, kind)
    refusal = MAPPED.refusal(owner, kind)
    assert (bool(why), True) == (bool(refusal), why in refusal)


def test_others_can_be_let_in_as_the_agent() -> None:
    found = AsWhom({"ann": "alice"}, "agent")
    assert ("", "") == (found.user_of("bob", "command"), found.refusal("bob", "command"))


def test_an_obstacle_is_told_to_whom_it_concerns() -> None:
    found = AsWhom({"ann": "alice"}, "agent", obstacle="the door is shut")
    assert ("the door is shut", "") == (
        found.refusal("ann", "command"), found.refusal("bob", "command"),
    )  # fmt: skip


def test_what_a_node_refuses_for_its_owner_is_tried_elsewhere_and_not_charged() -> None:
    assert FailureClass.CODE_MISSING is class_of(CODE)
    policy = PACKAGED[class_of(CODE)]
    assert (8, Placement.ONLY_ELSEWHERE) == (policy.retries, policy.placement)
    page = (Path(__file__).parents[3] / "docs" / "run-as.md").read_text(encoding="utf-8")
    assert f"tried on other nodes, {policy.retries} at most" in page


def driver_with(body: bytes, owner: str = "ann") -> CoreDriver:
    driver = CoreDriver()
    driver.state.as_whom = MAPPED
    driver.offer(body, task(1), owner=owner)
    driver.turn()
    return driver


def test_another_users_command_has_a_directory_apart_from_ours() -> None:
    driver = driver_with(spec(argv=["true"]))
    (effect,) = driver.of(StageIn)
    assert ("alice", []) == (effect.attempt.plan.user, driver.launched())
    staged(driver, task(1))
    driver.turn()
    assert [task(1)] == driver.launched()


@pytest.mark.parametrize(
    ("body", "owner"),
    [(spec(argv=["true"]), "bob"), (spec(kind="function", target="a:b"), "ann")],
)
def test_what_is_refused_for_its_owner_ends_before_anything_is_prepared(
    body: bytes, owner: str
) -> None:
    driver = driver_with(body, owner)
    assert ([], []) == (driver.of(StageIn), driver.launched())
    held = driver.state.attempts[task(1), 1]
    assert Phase.ENDED == held.phase
    batch, _ = driver.state.outbox.take(0)
    assert [Outcome.FAILED] == batch.outcomes
    assert CODE == codec.unpack_document(batch.details[0])["code"]
    driver.state.check()


def test_one_owner_that_is_refused_keeps_no_other_away() -> None:
    driver = driver_with(spec(argv=["true"]), "bob")
    assert [] == driver.state.rejected
