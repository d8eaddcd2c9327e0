"""Does `remuda task export` write whole files that programs and spreadsheets can read?"""

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from remuda import AsyncClient, Client
from remuda.cli import main
from remuda.cli.csv_rows import ATTEMPT_COLUMNS, TASK_COLUMNS, cell
from remuda.client import exporting
from remuda.protocol import ids
from remuda.protocol import messages as m

from ..fakes.toy_scheduler import toy_of_commands

TRY = {
    "number": 1, "node": "gpu-1", "gpus": ["GPU-a", "GPU-b"], "asked": "cpus=1 gpus=2",
    "outcome": "failed", "code": "exit_code", "message": "exit code 3", "granted_ms": 2_000,
    "ended_ms": 3_500, "late_ms": 0, "run_us": 1_500_000, "vram_bytes": 0, "vram_peak_bytes": -1,
    "batch_calls": 0, "epoch": 1,
}  # fmt: skip


def row_of(number: int, **facts: object) -> dict[str, object]:
    return {
        "id": ids.to_bytes(number << 64), "number": number, "batch": b"", "name": "=cmd()",
        "kind": "command", "command": "python train.py", "state": "failed", "code": "exit_code",
        "owner": "ann", "node": "gpu-1", "priority": 50, "tags": {"team": "a"},
        "asked": "cpus=1 gpus=2", "retry_of": b"", "created_ms": 1_000, "started_ms": 2_000,
        "ended_ms": 3_500, "attempts": [TRY, TRY | {"number": 2, "message": "exit code 4"}],
        "attempt": 2, **facts,
    }  # fmt: skip


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Let commands speak to a scheduler with three tasks in two slices."""
    with toy_of_commands(tmp_path, monkeypatch) as toy:
        slices = {
            "": {"rows": [row_of(1), row_of(2)], "cursor": "2.3", "at": 2, "last": 3},
            "2.3": {"rows": [row_of(3, attempts=[], ended_ms=0)], "cursor": "", "at": 3, "last": 3},
        }
        toy.on[m.ExportTasks] = lambda message: m.Document(slices[message.cursor])
        monkeypatch.chdir(tmp_path)
        yield toy


def test_a_line_of_json_for_each_task_with_its_tries(capsys, toy, tmp_path) -> None:
    assert 0 == main.run(["task", "export", "out.jsonl", "--state", "failed", "--owner", "ann"])
    first, *others = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert (1, "1970-01-01T00:00:03.500Z", [1.5, 1.5], None) == (
        first["number"],
        first["ended_at"],
        [each["run_s"] for each in first["attempts"]],
        first["attempts"][0]["vram_peak_bytes"],
    )
    assert [2, 3] == [each["number"] for each in others]
    assert "3 tasks written to out.jsonl\n" == capsys.readouterr().err
    (asked, _) = toy.heard_of(m.ExportTasks)
    assert {"states": ["failed"], "owner": "ann"} == asked.filters


def test_csv_has_a_row_for_each_task_and_nothing_that_a_spreadsheet_runs(toy, tmp_path) -> None:
    assert 0 == main.run(["task", "export", "out.csv", "-q"])
    with (tmp_path / "out.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert list(TASK_COLUMNS) == header
    first = dict(zip(header, rows[0], strict=True))
    assert ("'=cmd()", "exit code 4", "2", "3.0", '{"team": "a"}') == tuple(
        first[name] for name in ("name", "message", "attempts", "run_s", "tags")
    )
    assert ["2", "2", "0"] == [dict(zip(header, row, strict=True))["attempts"] for row in rows]


def test_the_documentation_names_every_column_and_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for columns in (TASK_COLUMNS, ATTEMPT_COLUMNS):
        assert f"`{','.join(columns)}`" in page
    tables = page.partition("A line of **JSON**")[2].partition("**CSV**")[0]
    named = [
        key
        for line in tables.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    task = exporting.document(row_of(1))
    assert sorted([*task, *task["attempts"][0]]) == sorted(named)


def test_an_export_is_for_the_eyes_of_its_owner(toy, tmp_path) -> None:
    assert 0 == main.run(["task", "export", "out.csv", "-q"])
    assert 0o600 == (tmp_path / "out.csv").stat().st_mode & 0o777


def test_csv_has_a_row_for_each_try_where_asked(toy, tmp_path) -> None:
    assert 0 == main.run(["task", "export", "out", "--format", "csv", "--attempts", "-q"])
    with (tmp_path / "out").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ATTEMPT_COLUMNS == tuple(rows[0])
    assert [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"), ("3", "")] == [
        (row["number"], row["attempt"]) for row in rows
    ]
    assert ("GPU-a GPU-b", "1.5", "") == tuple(
        rows[0][f"attempt_{name}"] for name in ("gpus", "run_s", "vram_peak_bytes")
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-x", "'-x"),
        ("@a", "'@a"),
        ("\tx", "'\tx"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ("a=1", "a=1"),
        (-3, -3),
        (None, ""),
    ],
)
def test_a_text_that_a_spreadsheet_would_run_begins_with_a_quote(value, shown) -> None:
    assert shown == cell(value)


def test_standard_output_has_lines_of_json_and_no_remark(capsys, toy) -> None:
    assert 0 == main.run(["task", "export", "-"])
    out, err = capsys.readouterr()
    assert ([1, 2, 3], "") == ([json.loads(line)["number"] for line in out.splitlines()], err)


def test_programs_are_told_what_was_written(capsys, toy) -> None:
    assert 0 == main.run(["task", "export", "out.ndjson", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert {"file": "out.ndjson", "format": "jsonl", "tasks": 3} == said


def test_a_file_that_is_there_is_replaced_only_by_force(capsys, toy, tmp_path) -> None:
    (tmp_path / "out.csv").write_text("mine")
    assert 1 == main.run(["task", "export", "out.csv"])
    assert "out.csv is there already" in capsys.readouterr().err
    assert [] == toy.heard_of(m.ExportTasks)
    assert "mine" == (tmp_path / "out.csv").read_text()
    assert 0 == main.run(["task", "export", "out.csv", "--force"])
    assert (tmp_path / "out.csv").read_text().startswith("id,number")


def test_a_named_pipe_is_written_to_and_stays(toy, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with subprocess.Popen(["cat", str(tmp_path / "pipe.csv")], stdout=subprocess.PIPE) as reader:
        assert 0 == main.run(["task", "export", "pipe.csv"])
        assert reader.communicate()[0].startswith(b"id,number")
    assert (tmp_path / "pipe.csv").is_fifo()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "FILE is empty"),
        (["out.txt"], "out.txt: in which format?"),
        (["out.csv", "--format", "xml"], "--format xml: allowed are jsonl and csv"),
        (["out.jsonl", "--attempts"], "--attempts goes with CSV"),
        (["-", "--json"], "--json goes with a FILE"),
        (["-", "--force"], "--force goes with a FILE"),
        (["no/out.csv"], "there is no folder no"),
        (["home.csv/x.csv"], "there is no folder home.csv"),
        (["out.csv", "--since", "yesterday"], "2m or 1h30m, or a moment like 2026-01-31T18:00:00Z"),
        (["out.csv", "--since=-1d"], "allowed is so long ago (30m, 7d), or a moment like 2026-"),
        (["out.csv", "--since", "1h", "--until", "2h"], "since is later than until"),
        (["out.csv", "--ended-since", "1h", "--ended-until", "2h"], "ended_since is later"),
        (["out.csv", "--state", "done"], "'done' is not a state"),
        (["out.csv", "--tag", "a"], "'a' is not K=V"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_leaves_no_file(
    capsys, toy, tmp_path, words, said
) -> None:
    before = sorted(tmp_path.iterdir())
    assert 4 == main.run(["task", "export", *words])
    assert said in capsys.readouterr().err
    assert before == sorted(tmp_path.iterdir())


def test_an_export_that_fails_in_the_middle_leaves_nothing(capsys, toy, tmp_path) -> None:
    first = toy.on[m.ExportTasks]
    toy.on[m.ExportTasks] = lambda message: (
        m.Failure("invalid", "no more") if message.cursor else first(message)
    )
    before = sorted(tmp_path.iterdir())
    assert 4 == main.run(["task", "export", "out.csv"])
    assert before == sorted(tmp_path.iterdir())


def test_ctrl_c_leaves_nothing_and_ends_with_130(toy, tmp_path) -> None:
    first, asked = toy.on[m.ExportTasks], threading.Event()

    def answer(message: m.ExportTasks) -> m.Message | None:
        if not message.cursor:
            return first(message)
        asked.set()  # and no answer
        return None

    toy.on[m.ExportTasks] = answer
    before = sorted(tmp_path.iterdir())
    command = [sys.executable, "-m", "remuda.cli.main", "task", "export", "out.csv"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as child:
        assert asked.wait(60)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert (130, "") == (child.returncode, said)
    assert before == sorted(tmp_path.iterdir())


def test_a_reader_that_leaves_ends_it_quietly(toy) -> None:
    command = [sys.executable, "-m", "remuda.cli.main", "task", "export", "-"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert "" == child.stderr.read()  # type: ignore[union-attr]  # it is a pipe
    assert 141 == child.returncode


def test_python_reads_the_same_documents_one_by_one(toy) -> None:
    with Client() as cluster:
        assert [1, 2, 3] == [each["number"] for each in cluster.export_tasks(owner="ann")]


def test_an_async_program_reads_them_too(toy) -> None:
    async def numbers() -> list[int]:
        async with AsyncClient() as cluster:
            return [each["number"] async for each in cluster.export_tasks(states=["failed"])]

    assert [1, 2, 3] == asyncio.run(numbers())
