"""Does a command line become the right call, the right exit code and one line of error?"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from remuda.cli import main
from remuda.protocol import errors


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main.run(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch) -> Path:
    """Let every command look for a cluster in an empty home."""
    for name in ("REMUDA_CLUSTER", "REMUDA_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REMUDA_HOME", str(tmp_path))
    return tmp_path


def parsed(*words: str) -> dict[str, Any]:
    """Return what the first command of a line gets to see."""
    import typer

    command = typer.main.get_command(main.app(words)).commands[words[0]]
    context = typer.Context(command)
    with command.make_context(words[0], list(words[1:]), parent=context) as made:
        return dict(made.params)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--", "git", "log", "--oneline", "--", "f"],
        ["run", "git", "log", "--oneline", "--", "f"],
        ["run", "--cpus", "2", "git", "log", "--oneline", "--", "f"],
        ["run", "--cpus", "2", "--", "git", "log", "--oneline", "--", "f"],
    ],
)
def test_the_bare_dashes_before_a_command_may_be_left_out(words) -> None:
    assert ["git", "log", "--oneline", "--", "f"] == list(parsed(*words)["command"])


def test_options_of_the_command_are_not_taken_for_ours() -> None:
    found = parsed("run", "python", "train.py", "--cpus", "9", "--json")
    assert ["python", "train.py", "--cpus", "9", "--json"] == list(found["command"])
    assert ("", False) == (found["cpus"], found["json"])


@pytest.mark.parametrize("line", ["--home {} status", "status --home {}"])
def test_the_cluster_may_be_named_before_or_behind_the_command(capsys, tmp_path, line) -> None:
    code, _, err = run(capsys, *line.format(tmp_path / "none").split())
    assert (5, True) == (code, str(tmp_path / "none") in err)


def test_the_version_is_one_line(capsys) -> None:
    code, out, err = run(capsys, "--version")
    assert (0, "") == (code, err)
    assert out.startswith("remuda ")
    assert 1 == out.count("\n")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["bogus"], 2),
        (["task", "bogus"], 2),
        (["task", "list", "--bogus"], 2),
        (["task", "list", "--limit", "0"], 2),
        (["submit"], 2),
        (["submit", "--bogus", "true"], 2),
        (["run"], 125),
        (["run", "--bogus", "true"], 125),
        (["call"], 125),
        (["submit", "--wait"], 125),
        (["task", "exec", "4", "--timeout", "1s", "--", "sleep", "5"], 125),
    ],
)
def test_a_wrong_command_line_is_a_usage_error_in_one_line(capsys, words, code) -> None:
    found, out, err = run(capsys, *words)
    assert (code, "") == (found, out)
    assert err.startswith("remuda: ")
    assert "--help" in err
    assert 1 == err.count("\n")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status"], 5),
        (["task", "list"], 5),
        (["submit", "true"], 5),
        (["task", "show", "1"], 5),
        (["node", "list"], 5),
        (["config", "show"], 5),
        (["key", "list"], 5),
        (["run", "true"], 125),
        (["call", "math:sqrt"], 125),
        (["submit", "--wait", "true"], 125),
        (["status", "--check"], 2),
    ],
)
def test_without_a_scheduler_each_command_says_so(capsys, nowhere, words, code) -> None:
    from remuda.config.keys import Identity, ensure_key_pair, generate, save_identity

    (nowhere / "keys").mkdir()
    ensure_key_pair(nowhere / "keys" / "scheduler.key")
    pair = generate()
    identity = Identity("me", "admin", pair, generate().public, "tcp://127.0.0.1:1", "local")
    save_identity(nowhere / "keys" / "client.key", identity)
    found, out, err = run(capsys, *words)
    assert code == found
    assert f"no scheduler runs in {nowhere}: start one with `remuda up`" in out + err
    assert 1 == (out + err).count("\n")


@pytest.mark.parametrize("words", [(), ("task",), ("config",), ("recovery",)])
def test_help_cuts_no_summary_off(capsys, words) -> None:
    usage, *rest = run(capsys, *words, "--help")[1].splitlines()
    assert usage.endswith("[ARGS]...")
    assert [] == [line for line in rest if line.endswith("...")]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RemudaError("x"), 1),
        (errors.Invalid("x"), 4),
        (errors.NotAllowed("x"), 4),
        (errors.Infeasible("x"), 4),
        (errors.NotFound("x"), 3),
        (errors.Unreachable("x"), 5),
        (errors.QueueFull("x"), 75),
        (KeyboardInterrupt(), 130),
        (FileNotFoundError(2, "No such file or directory", "in.txt"), 1),
        (ZeroDivisionError("oops"), 1),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(capsys, monkeypatch, error, code) -> None:
    def fail(_arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(main, "_dispatch", fail)
    found, _, err = run(capsys, "task", "list")
    assert code == found
    assert err.count("\n") <= 1
    ours = 130 if isinstance(error, KeyboardInterrupt) else 125
    assert ours == main.run(["run", "true"])


def test_a_reader_that_goes_away_ends_the_output_quietly(tmp_path) -> None:
    program = "import sys; from remuda.cli.main import main; main()"
    command = f"{sys.executable} -c '{program}' config get --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "" == done.stderr
    assert done.stdout.strip() in ("0", "141")


def test_nothing_is_coloured_in_a_pipe(tmp_path) -> None:
    environment = os.environ | {"TERM": "xterm-256color", "REMUDA_HOME": str(tmp_path)}
    program = "from remuda.cli.main import main; main()"
    command = [sys.executable, "-c", program, "--help"]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("line", "word"),
    [("remuda ta", "task"), ("remuda task ca", "cancel"), ("remuda --ver", "--version")],
)
def test_a_shell_completes_commands_and_options(line, word) -> None:
    count = str(len(line.split()) - 1)
    wanted = {"_REMUDA_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": count}
    program = "import sys; sys.argv = ['remuda']; from remuda.cli.main import main; main()"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=os.environ | wanted, capture_output=True, text=True, check=True
    )
    assert word in done.stdout.split()


def test_a_verb_without_its_noun_is_told_where_it_stands(capsys) -> None:
    code, out, said = run(capsys, "wait", "7")
    assert (2, "") == (code, out)
    assert (
        "remuda: No such command 'wait': did you mean `remuda task wait`? (see `remuda --help`)\n"
        == said
    )


def test_a_backup_to_a_file_that_would_keep_some_is_refused(capsys, nowhere) -> None:
    code, _, said = run(capsys, "backup", str(nowhere / "b.tar"), "--keep", "3")
    assert (4, []) == (code, list(nowhere.iterdir()))
    assert "--keep goes with --to" in said
