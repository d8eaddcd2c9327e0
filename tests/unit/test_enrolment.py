"""Is the key of a newcomer kept exactly as long as it may still be let in?"""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.cli import main
from remuda.config import enrolment
from remuda.config.invitation import Invitation, to_line
from remuda.config.keys import ensure_key_pair, generate
from remuda.config.knock import NotLetIn
from remuda.protocol.errors import Conflict, NotAllowed, RemudaError, Unreachable

SCHEDULER = generate()
LINE = Invitation("tcp://127.0.0.1:9", SCHEDULER.public, generate().secret, "anna", "submit", "lab")


def enrol(folder: Path, answer: RemudaError, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ask with a line, hear this, and return the files that are left."""

    def knock(*_args: object, **_options: object) -> None:
        raise answer

    monkeypatch.setattr(enrolment, "knock", knock)
    with pytest.raises(RemudaError):
        enrolment.enrol(LINE, "anna", folder / "lab.key")
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize(
    "answer", [NotAllowed("used already"), NotLetIn("not known"), Conflict("the name is taken")]
)
def test_a_refusal_leaves_no_key_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: RemudaError
) -> None:
    assert [] == enrol(tmp_path, answer, monkeypatch)


def test_a_key_whose_answer_never_came_is_kept_through_the_refusal_of_another_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [".lab.key.joining"] == enrol(tmp_path, Unreachable("no answer"), monkeypatch)
    pair = ensure_key_pair(tmp_path / ".lab.key.joining")
    assert [".lab.key.joining"] == enrol(tmp_path, NotAllowed("used already"), monkeypatch)
    assert pair == ensure_key_pair(tmp_path / ".lab.key.joining")


def test_a_name_other_than_that_of_the_line_is_refused_before_anybody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert 4 == main.run(["login", "--name", "bob", to_line(LINE)])
    assert "this line is for the name anna: leave --name bob out" in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())
