"""Are secrets read as they are now, only from files that are closed, and never shown?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from remuda.config.settings import SecretSettings
from remuda.node.interpreters import NotOffered
from remuda.node.lanes import Lane
from remuda.node.secret_files import LOOK_EVERY_NS, VALUE_BYTES_MAX, SecretFiles
from remuda.node.stage import worker_name
from remuda.worker.frames import Host

CANARY = "canary-7f3a"


def files(path: Path) -> SecretFiles:
    return SecretFiles({"hf": SecretSettings(file=path)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "hf"
    found.write_text(f"{CANARY}\n")
    found.chmod(0o600)
    return found


def test_a_task_gets_the_variable_that_it_named_without_the_end_of_the_line(path: Path) -> None:
    assert {"HF_TOKEN": CANARY} == files(path).variables(["hf=HF_TOKEN"])
    assert {"hf": CANARY} == files(path).variables(["hf"])


def test_a_changed_file_is_read_anew_and_has_another_stamp(path: Path) -> None:
    secrets = files(path)
    before = secrets.stamps(["hf"])
    path.write_text("other")
    os.utime(path, ns=(1, 1))
    assert {"hf": "other"} == secrets.variables(["hf"])
    assert before != secrets.stamps(["hf"])


def test_a_credential_comes_from_the_folder_that_systemd_names(path: Path) -> None:
    settings = {"hf": SecretSettings(credential="hf")}
    assert {"hf": CANARY} == SecretFiles(settings, path.parent).variables(["hf"])
    with pytest.raises(NotOffered, match=r"no credentials .*LoadCredential=hf"):
        SecretFiles(settings).variables(["hf"])


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
def test_a_file_that_others_may_read_or_change_is_not_offered(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(NotOffered, match=rf"mode {mode:04o}\): chmod 600"):
        files(path).variables(["hf"])


def test_a_file_of_a_group_is_offered(path: Path) -> None:
    path.chmod(0o640)
    assert {"hf": CANARY} == files(path).variables(["hf"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (CANARY.encode() + b"\xff", "is not UTF-8"),
        (CANARY.encode() + b"\0", "holds a zero byte"),
        (CANARY.encode() * VALUE_BYTES_MAX, "is longer than"),
    ],
)
def test_what_no_variable_can_hold_is_refused_without_showing_it(
    path: Path, content: bytes, words: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(NotOffered, match=words) as refused:
        files(path).variables(["hf"])
    assert CANARY not in repr(refused.value)
    assert refused.value.__cause__ is None


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hf", 0o600)
    with pytest.raises(NotOffered, match="is no file"):
        files(tmp_path / "hf").variables(["hf"])


def test_what_is_missing_is_named_with_what_there_is(path: Path) -> None:
    secrets = files(path)
    secrets.look_if_due(0)
    with pytest.raises(NotOffered, match=r"no secret 'nope' \(known: hf\)"):
        secrets.variables(["nope"])


def test_what_can_be_read_is_offered_and_what_cannot_is_a_problem(path: Path) -> None:
    secrets = files(path)
    assert (True, ("hf",), ()) == (secrets.look_if_due(0), secrets.offered, secrets.problems)
    path.unlink()
    assert not secrets.look_if_due(LOOK_EVERY_NS - 1)
    assert secrets.look_if_due(LOOK_EVERY_NS)
    assert () == secrets.offered
    assert (f"secret 'hf' is not offered: {path}: No such file or directory",) == secrets.problems


def test_the_name_of_a_worker_tells_its_secrets_apart_by_their_files_and_shows_none() -> None:
    host = Host("", "python", {}, secrets={"HF": CANARY})
    lane = Lane(1, "pool", stamp=((1, 2, 3),))
    name = worker_name(lane, host)
    assert name == worker_name(lane, host._replace(secrets={"HF": "another value"}))
    assert name != worker_name(lane, host._replace(secrets={"TOKEN": CANARY}))
    assert name != worker_name(Lane(1, "pool", stamp=((9, 2, 3),)), host)
