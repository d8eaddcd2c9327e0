"""Does the line of an invitation survive being copied, and is a bad copy told from a good one?"""

import re
import shlex

import pytest

from remuda.config.invitation import PREFIX, Invitation, from_line, to_line
from remuda.config.keys import generate
from remuda.protocol.errors import Invalid

SCHEDULER, ONCE = generate(), generate()


def invitation(**changes: str) -> Invitation:
    values = {
        "endpoint": "tcp://sched.example.org:7700",
        "scheduler_public": SCHEDULER.public,
        "secret": ONCE.secret,
        "name": "gpu-7",
        "role": "node",
        "cluster": "lab",
    }
    return Invitation(**values | changes)


LINE = to_line(invitation())


@pytest.mark.parametrize("changes", [{}, {"name": ""}, {"endpoint": "tcp://[fd00::1]:7700"}])
def test_a_line_holds_all_that_a_newcomer_needs(changes: dict[str, str]) -> None:
    wanted = invitation(**changes)
    assert wanted == from_line(to_line(wanted))


def test_the_key_of_a_line_is_whole() -> None:
    assert ONCE == from_line(LINE).one_time_key


def test_a_line_means_nothing_to_a_shell() -> None:
    for _ in range(20):
        line = to_line(invitation(secret=generate().secret, name="a.b_c@d-e"))
        assert re.fullmatch(r"[A-Za-z0-9_-]+", line)
        assert [line] == shlex.split(line)
        assert not line.startswith("-")


@pytest.mark.parametrize("wrapped", ["{}\n", "  {}  ", "'{}'", '"{}"', "`{}`"])
def test_what_surrounds_a_copied_line_is_left_out(wrapped: str) -> None:
    assert invitation() == from_line(wrapped.format(LINE))


def test_a_line_that_a_mail_program_broke_is_put_together() -> None:
    broken = "\n".join(LINE[start : start + 60] for start in range(0, len(LINE), 60))
    assert invitation() == from_line(broken)


@pytest.mark.parametrize("kept", range(len(PREFIX), len(LINE), 5))
def test_a_line_that_was_cut_off_says_so(kept: int) -> None:
    with pytest.raises(Invalid, match=r"the line is cut off.*copy the whole line"):
        from_line(LINE[:kept])


def test_a_cut_says_how_much_is_missing() -> None:
    with pytest.raises(Invalid, match="cut off: 10 of its characters are missing"):
        from_line(LINE[:-10])


def test_a_length_beyond_any_line_is_damage_and_not_a_cut() -> None:
    with pytest.raises(Invalid, match=r"changed on its way \(no line is as long"):
        from_line(PREFIX + "QEUs" + LINE[len(PREFIX) + 4 :])


@pytest.mark.parametrize("at", range(len(PREFIX) + 4, len(LINE) - 1, 7))
def test_a_line_with_one_other_character_is_refused(at: int) -> None:
    other = "A" if LINE[at] != "A" else "B"
    with pytest.raises(Invalid, match="checksum is wrong"):
        from_line(LINE[:at] + other + LINE[at + 1 :])


@pytest.mark.parametrize("text", ["", "hello", "ssh-ed25519 AAAA", "x" * 5_000])
def test_what_is_no_line_is_told_so(text: str) -> None:
    with pytest.raises(Invalid, match=r"remuda key invite"):
        from_line(text)


def test_the_secret_of_a_line_shows_in_no_repr() -> None:
    assert ONCE.secret not in repr(from_line(LINE))
