"""Does the mover notice that the store does not answer, and that it does again?"""

from __future__ import annotations

from dataclasses import dataclass

from remuda.node.mover.silence import SILENT_S, Silence

SOON_S, LATE_S = 100 + SILENT_S - 1, 100 + SILENT_S + 1


@dataclass
class Way:
    waits_since_s: float = 0.0
    heard_s: float = 0.0


def test_a_store_that_does_not_answer_for_a_while_is_silent() -> None:
    silence = Silence()
    assert not silence.look([Way(), Way(100)], SOON_S, has_jobs=True)
    assert silence.look([Way(), Way(100)], LATE_S, has_jobs=True)
    assert silence.is_so


def test_a_store_that_nobody_asks_is_not_silent() -> None:
    assert not Silence().look([Way(heard_s=1)], LATE_S, has_jobs=True)


def test_a_store_that_was_heard_on_another_way_is_not_silent() -> None:
    assert not Silence().look([Way(100), Way(heard_s=LATE_S - 1)], LATE_S, has_jobs=True)


def silent() -> Silence:
    silence = Silence()
    silence.look([Way(100)], LATE_S, has_jobs=True)
    return silence


def test_the_silence_ends_with_a_word_of_the_store() -> None:
    silence = silent()
    assert silence.look([Way(100, LATE_S + 1)], LATE_S + 2, has_jobs=True)
    assert not silence.is_so


def test_the_silence_ends_when_nobody_waits_any_more() -> None:
    silence = silent()
    assert silence.look([Way()], LATE_S + 1, has_jobs=False)
    assert not silence.is_so


def test_the_silence_goes_on_when_one_gives_up_and_the_next_one_waits() -> None:
    silence = silent()
    assert not silence.look([Way(LATE_S)], LATE_S + 1, has_jobs=True)
    assert silence.is_so
