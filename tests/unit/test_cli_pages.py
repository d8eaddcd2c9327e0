"""Do the pages of a task and of the cluster say what a reader needs to know?"""

import re
import time
from typing import Any

import pytest

from remuda.cli import screen, status, task_page
from remuda.cli.task_life import life_facts
from remuda.protocol import ids
from remuda.protocol.spec import TaskSpec

HOUR_MS = 3_600_000


def now_ms() -> int:
    return round(time.time() * 1000)


def facts(spec: TaskSpec, **body: Any) -> dict[str, str]:
    return {name: text for name, text in life_facts(spec, body) if text}


def page(capsys, **body: Any) -> str:
    known = {"number": 7, "id": ids.to_bytes(5), "state": "failed", "code": "timeout"}
    task_page.show_task({**known, **body})
    return str(capsys.readouterr().out)


def test_a_command_of_a_user_of_its_own_says_as_whom_it_ran(capsys) -> None:
    assert re.search(r"ran as +alice$", page(capsys, detail={"user": "alice"}), re.MULTILINE)
    assert "ran as" not in page(capsys, detail={})


def test_a_task_without_wishes_says_nothing_of_its_life() -> None:
    assert {} == facts(TaskSpec("command"), budgets=[])


def test_limits_and_policies_are_said_in_words() -> None:
    spec = TaskSpec(
        "command", timeout_ms=HOUR_MS, start_timeout_ms=60_000, silence_ms=90_000,
        expires_ms=HOUR_MS, if_node_lost="fail", retry_on=["network"],
        never_on=["disk", "exception"],
    )  # fmt: skip
    assert {
        "limits of a try": "start 1m, run 1h, silence 1m 30s",
        "expires": "1h in the queue",
        "retries only on": "network",
        "never retried on": "disk, exception",
        "node lost": "fail: does not run elsewhere",
    } == facts(spec)


def test_a_deadline_says_how_far_off_it_is_until_the_task_has_ended() -> None:
    spec = TaskSpec("command", deadline_ms=now_ms() + HOUR_MS)
    assert re.search(r"Z \(in (1h|59m \d+s)\)$", facts(spec)["deadline"])
    assert facts(spec, ended_ms=1)["deadline"].endswith("Z")
    passed = TaskSpec("command", deadline_ms=1_000)
    assert "1970-01-01T00:00:01.000Z (passed)" == facts(passed)["deadline"]


def test_budgets_say_what_they_are_for_and_what_was_used() -> None:
    rows = [
        {"budget": "own", "failures": 0, "retries": 3},
        {"budget": "memory", "failures": 1, "retries": 2},
    ]
    said = facts(TaskSpec("command"), budgets=rows)["retries"]
    assert "3 after its own errors; 2 after running out of memory (1 failure so far)" == said


def test_a_stack_is_told_from_a_traceback(capsys) -> None:
    detail = {"code": "timeout", "traceback": "File x\n"}
    assert "stack, as it stood when it was stopped\n  File x" in page(capsys, detail=detail)
    raised = {"code": "exception", "traceback": "File x\n"}
    assert "traceback\n  File x" in page(capsys, detail=raised, code="exception")


def test_a_task_that_ran_out_of_memory_shows_what_it_asks_for_since(capsys) -> None:
    said = page(capsys, raised={"memory_bytes": 18 << 30, "vram_bytes": 0})
    assert re.search(r"raised to +memory=18GiB\n", said)


def test_an_explanation_shows_what_was_submitted_and_what_time_is_left(capsys) -> None:
    task_page.show_explanation(
        {"number": 7, "state": "queued", "reason": "because", "request": "memory=18GiB",
         "submitted": "memory=12GiB", "deadline_ms": now_ms() + HOUR_MS, "expiry_ms": 1_000}
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "memory=18GiB (submitted with memory=12GiB, which was too little)" in said
    assert re.search(r"deadline +\S+Z \(in (1h|59m \d+s)\)\n", said)
    assert re.search(r"expires +1970-01-01T00:00:01.000Z \(passed\)\n", said)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"holds": ["the disk is full"]}, "the scheduler gives no work out: the disk is full"),
        (
            {"fuse": [f"n{number}" for number in range(7)]},
            "7 nodes fell silent at once (n0, n1, n2, n3, n4, ...): nobody is given up before they "
            "are heard; `remuda node lost NAME` moves the tasks of one that is off",
        ),
        (
            {"reconciling_ms": 42_000},
            "the scheduler waits 42s more for nodes that it knows: until then none is given up",
        ),
    ],
)
def test_what_keeps_the_scheduler_from_its_work_is_a_problem(body, text) -> None:
    rows = [{"name": "a", "state": "ready"}]
    assert (status.WARNING, [text]) == status.problems(body, rows)


def test_nodes_in_the_same_trouble_share_a_line() -> None:
    rows = [{"name": name, "state": "unheard"} for name in "abcdef"]
    rows += [{"name": "g", "state": "ready"}, {"name": "h", "state": "lost"}]
    assert [
        "each of 6 nodes (a, b, c, d, e, ...) was not heard since the scheduler started",
        "node h is lost: its tasks run elsewhere",
    ] == status.problems({}, rows)[1]


def test_a_handler_that_fails_on_many_nodes_is_one_problem() -> None:
    failed = [{"name": "inpaint", "state": "failed", "error": "no model"}]
    rows = [{"name": name, "state": "ready", "handlers": failed} for name in "ab"]
    assert ["handler inpaint failed (no model) on a, b"] == status.problems({}, rows)[1]


def test_wide_columns_give_up_what_a_terminal_has_not_the_longest_first(monkeypatch) -> None:
    monkeypatch.setattr(screen, "columns_shown", lambda: 60)
    columns = (screen.Column("A"), screen.Column("B", wide=True), screen.Column("C", wide=True))
    assert [8, 4, 44] == screen._widths(columns, [["x" * 8, "y" * 4, "z" * 90]])
    assert [8, 36, 12] == screen._widths(columns, [["x" * 8, "y" * 80, "z" * 12]])
