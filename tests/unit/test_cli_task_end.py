"""Does `why` say of a failed task what failed, why no try followed, and what to do now?"""

from typing import Any

import pytest

from remuda.cli import task_page
from remuda.cli.task_end import failure_reason, why_no_more
from remuda.protocol import ids

LOST = {"number": 1, "node": "a", "code": "node_lost", "message": "not heard for 60 s"}
EXIT = {"number": 2, "node": "b", "code": "exit_code", "message": "exit code 7"}


def budget(name: str, failures: int, retries: int) -> dict[str, Any]:
    return {"budget": name, "failures": failures, "retries": retries}


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([], "it failed before it was given to a node: exit_code"),
        ([EXIT], "its only try failed on b: exit_code: exit code 7"),
        ([LOST, EXIT], "the last of 2 tries failed on b: exit_code: exit code 7"),
    ],
)
def test_the_last_try_says_what_failed(attempts: list[Any], expected: str) -> None:
    assert expected == failure_reason({"code": "exit_code", "attempts": attempts})


@pytest.mark.parametrize(
    ("code", "budgets", "expected"),
    [
        ("exit_code", [budget("own", 1, 0)], "none were asked for after its own errors"),
        ("exit_code", [budget("own", 2, 1)], "the only one after its own errors used up"),
        ("exit_code", [budget("own", 4, 3), budget("node_lost", 1, 2)], "all 3 after its own"),
        ("node_lost", [budget("own", 0, 3), budget("node_lost", 3, 2)], "all 2 after lost nodes"),
        ("exit_code", [budget("own", 1, 3)], "1 of 3 after its own errors used: its options"),
        (
            "owner_refused",
            [budget("code_missing", 2, 8)],
            "2 of 8 after missing code used: its options, or the nodes that there are",
        ),
        ("deadline", [budget("own", 0, 3)], "none after deadline: it would end the same way"),
    ],
)
def test_why_no_other_try_followed(code: str, budgets: list[Any], expected: str) -> None:
    assert why_no_more({"code": code, "budgets": budgets}).startswith(expected)


def test_the_page_ends_with_what_it_wrote_last_and_what_helps(capsys) -> None:
    body = {"number": 7, "id": ids.to_bytes(5), "state": "failed", "code": "exit_code",
            "attempts": [LOST, EXIT], "budgets": [budget("own", 1, 0)],
            "detail": {"err": b"no such model\n"}}  # fmt: skip
    task_page.show_failure(body)
    said = capsys.readouterr().out
    assert "not heard for 60 s" in said
    assert "stderr\n  no such model\n" in said
    assert said.endswith("`remuda task retry 7` submits a copy\n")
