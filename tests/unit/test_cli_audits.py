"""Does `remuda audit` refuse options that it would pass over, and say only what is asked for?"""

import pytest

from remuda.cli import main
from remuda.client import auditing
from remuda.protocol import messages as m

from ..fakes.toy_scheduler import ToyScheduler, home_of

ROW = {"seq": 7, "at_ms": 1_000, "principal": "ann", "verb": "node drain", "subject": "gpu-1",
       "hash": b"7"}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--file", "x"], "--file goes with --verify"),
        (["--verify", "--export", "x"], "--verify and --export do not go together"),
        (["--verify", "--follow"], "--verify and --follow do not go together"),
        (["--export", "x", "-f"], "--export and --follow do not go together"),
        (["--verify", "--by", "ann"], "--verify follows the chain of all rows"),
        (["--verify", "--since", "1d"], "--verify follows the chain of all rows"),
        (["--export", "x", "--cursor", "3"], "--cursor does not go with --export"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(capsys, words, said) -> None:
    assert 4 == main.run(["audit", *words])
    assert said in capsys.readouterr().err


def test_quiet_rows_that_are_followed_are_numbers_only(capsys, tmp_path, monkeypatch) -> None:
    toy = ToyScheduler(tmp_path)
    monkeypatch.setenv("REMUDA_HOME", str(home_of(toy)))
    toy.on[m.ListAudit] = lambda _: m.Document({"rows": [], "next": 0, "total": 0})
    monkeypatch.setattr(auditing, "following", lambda *_: [ROW])
    assert 0 == main.run(["audit", "--follow", "-q"])
    toy.stop()
    assert "7\n" == capsys.readouterr().out
