"""Is what was decided after a restore said as it was asked for: to people, programs, or nobody?"""

import json

import pytest

from remuda.cli import main
from remuda.protocol import messages as m

from ..fakes.toy_scheduler import toy_of_commands


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Let commands speak to a scheduler that decides two slices of strangers."""
    with toy_of_commands(tmp_path, monkeypatch) as toy:
        left = [2, 1, 0]
        toy.on[m.ShowRecovery] = lambda _: m.Document({"held": True, "strangers": left.pop(0)})
        toy.on[m.DecideRecovery] = lambda message: m.Done(f"{message.verb}: done")
        yield toy


@pytest.mark.parametrize(
    ("words", "slices"), [(["adopt", "--all"], 2), (["kill", "--all"], 2), (["release"], 1)]
)
def test_programs_read_one_array_of_what_was_decided(capsys, cluster, words, slices) -> None:
    verb, *_ = words
    expected = {"verb": verb, "cluster": "toy", "message": f"{verb}: done"}
    assert 0 == main.run(["recovery", *words, "--json"])
    assert [expected] * slices == json.loads(capsys.readouterr().out)


def test_people_read_a_line_for_each_slice(capsys, cluster) -> None:
    assert 0 == main.run(["recovery", "adopt", "--all"])
    assert "adopt: done\nadopt: done\n" == capsys.readouterr().out


def test_quiet_decisions_say_nothing(capsys, cluster) -> None:
    assert 0 == main.run(["recovery", "adopt", "--all", "-q"])
    assert "" == capsys.readouterr().out
