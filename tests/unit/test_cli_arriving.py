"""Do the lines of a pipe come at once, and is it said when they should go on?"""

import os

import pytest

from remuda.cli.arriving import lines_as_they_come

MOST = 8


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file:
        yield file, writer


def test_what_has_come_goes_on_while_the_pipe_is_silent(pipe) -> None:
    file, writer = pipe
    lines = lines_as_they_come(file, MOST)
    os.write(writer, b"a\nb\nhal")
    assert [b"a\n", b"b\n", None] == [next(lines) for _ in range(3)]
    os.write(writer, b"f\nlast")
    os.close(writer)
    assert [b"half\n", b"last"] == list(lines)


def test_an_endless_line_comes_in_parts(pipe) -> None:
    file, writer = pipe
    os.write(writer, b"x" * 2 * MOST)
    lines = lines_as_they_come(file, MOST)
    assert [b"x" * MOST] * 2 == [next(lines), next(lines)]
    os.close(writer)
    assert [] == list(lines)


def test_a_pipe_that_brings_nothing_has_no_lines(pipe) -> None:
    file, writer = pipe
    os.close(writer)
    assert [] == list(lines_as_they_come(file, MOST))
