"""Does the doctor judge what it is told, and survive daemons that tell nothing?"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from remuda.cli import doctor_cluster, doctor_daemons, versions
from remuda.config.findings import Level

HERE = versions.version()


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_a_check_that_hangs_is_a_finding() -> None:
    (found,) = doctor_daemons.ask(python("import time; time.sleep(60)"), patience_s=0.2)
    assert (Level.SERIOUS, "check") == (found.level, found.topic)
    assert "no answer within 0.2 s" in found.text


@pytest.mark.parametrize("said", ["", "[1]", '{"a": 1}', '[{"topic": "x"}]', "not json"])
def test_a_check_that_says_nothing_of_use_is_a_finding_with_its_last_words(said: str) -> None:
    code = f"import sys; print({said!r}); sys.exit('remuda-node: config.toml:3: unknown key')"
    (found,) = doctor_daemons.ask(python(code))
    assert "remuda-node: config.toml:3: unknown key" == found.text


@pytest.mark.parametrize(
    ("about", "levels"),
    [
        ({"LoadState": "not-found"}, []),
        ({"LoadState": "loaded", "ActiveState": "active", "NRestarts": "0"}, [Level.FINE]),
        ({"LoadState": "loaded", "ActiveState": "active", "NRestarts": "7"}, [Level.WARNING]),
        ({"LoadState": "loaded", "ActiveState": "failed", "Result": "exit-code"}, [Level.SERIOUS]),
    ],
)
def test_a_service_is_judged_by_what_systemd_says(
    about: dict[str, str], levels: list[Level]
) -> None:
    assert levels == [each.level for each in doctor_daemons.judge_unit("remuda-node", about)]


def node(name: str, version: str = HERE, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": version, "state": "ready", **more}


def test_versions_that_differ_name_who_is_to_be_upgraded() -> None:
    rows = [node("a"), node("b", "0.0.1"), node("c", "0.0.1")]
    (found,) = doctor_cluster.judge_versions({"version": HERE}, rows)
    assert f"b, c run remuda 0.0.1, the scheduler {HERE}" == found.text
    (other,) = doctor_cluster.judge_versions({"version": "9.9"}, [])
    assert f"remuda {HERE} here, 9.9 at the scheduler" == other.text
    (same,) = doctor_cluster.judge_versions({"version": HERE}, rows[:1])
    assert same.level is Level.FINE


def test_a_store_of_another_release_than_the_scheduler_is_named() -> None:
    assert [] == list(doctor_cluster.judge_store_version(HERE, HERE))
    (found,) = doctor_cluster.judge_store_version("0.0.1", HERE)
    assert f"the store runs remuda 0.0.1, the scheduler {HERE}" == found.text


def test_what_status_calls_a_problem_is_a_finding() -> None:
    rows = [node("a"), node("b", state="lost")]
    found = list(doctor_cluster.judge_state({"problems": ["the disk is nearly full"]}, rows))
    bad = [each.text for each in found if each.level is Level.WARNING]
    assert ["the disk is nearly full", "node b is lost: its tasks run elsewhere"] == bad


def test_what_is_a_problem_is_not_called_fine_as_well() -> None:
    rows = [
        node("a", notes=["run_as: no helper", "no GPU"]),
        node("b", notes=["run_as: no helper"]),
    ]
    told = {"problems": ["run_as: no helper on 2 nodes: a, b"]}
    found = [each.text for each in doctor_cluster.judge_state(told, rows)]
    assert ["run_as: no helper on 2 nodes: a, b", "a: no GPU"] == [
        each for each in found if "heard" not in each
    ]


def test_a_scheduler_far_away_is_named() -> None:
    assert [Level.FINE, Level.WARNING] == [
        next(iter(doctor_cluster.judge_answers(ms))).level for ms in (3.0, 300.0)
    ]
