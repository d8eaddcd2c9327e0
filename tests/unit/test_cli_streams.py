"""Do the lines of many sources stay whole, each with the name of its source?"""

import json

from remuda.cli import streams
from remuda.client.output import Piece


def test_a_line_is_written_once_it_is_whole(capfd):
    printer = streams.Prefixed()
    printer.write("a", Piece("out", b"one\ntw"))
    printer.write("b", Piece("out", b"x\n"))
    printer.write("a", Piece("out", b"o\n"))
    assert "a: one\nb: x\na: two\n" == capfd.readouterr().out


def test_the_two_streams_of_a_source_are_kept_apart(capfd):
    printer = streams.Prefixed()
    printer.write("a", Piece("out", b"o"))
    printer.write("a", Piece("err", b"e\n"))
    printer.end("a")
    assert ("a: o\n", "a: e\n") == capfd.readouterr()


def test_what_ends_without_an_end_of_line_is_written_at_the_end(capfd):
    printer = streams.Prefixed()
    printer.write("a", Piece("err", b"last words"))
    assert ("", "") == capfd.readouterr()
    printer.end("a")
    printer.end("a")
    assert ("", "a: last words\n") == capfd.readouterr()


def test_an_endless_line_is_cut_into_parts(capfd, monkeypatch):
    monkeypatch.setattr(streams, "LINE_BYTES_MAX", 4)
    printer = streams.Prefixed()
    printer.write("a", Piece("out", b"12345"))
    assert "a: 12345\n" == capfd.readouterr().out


def test_what_was_cut_on_the_way_is_said(capfd):
    streams.Prefixed().write("a", Piece("out", b"end\n", lost=2048))
    assert ("a: end\n", "a: [2KiB of stdout were not kept]\n") == capfd.readouterr()


def test_each_line_is_an_object_of_its_own(capsys) -> None:
    printer = streams.JsonLines()
    printer.write(Piece("out", b"one\ntw", attempt=1))
    printer.write(Piece("err", b"x\n", attempt=1))
    printer.write(Piece("out", b"o\n", lost=9, attempt=1))
    printer.write(Piece("out", b"again", attempt=2))
    printer.close()
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [
        ("stdout", 1, "one", 0), ("stderr", 1, "x", 0), ("stdout", 1, "tw", 9),
        ("stdout", 1, "o", 0), ("stdout", 2, "again", 0),
    ] == [tuple(row.values()) for row in rows]  # fmt: skip


def test_the_last_lines_of_each_stream_are_kept_for_the_end(capsys) -> None:
    printer = streams.JsonLines(lines_max=1)
    printer.write(Piece("out", b"a\nb\n"))
    printer.write(Piece("err", b"c\n"))
    assert "" == capsys.readouterr().out
    printer.close()
    assert ["b", "c"] == [json.loads(t)["text"] for t in capsys.readouterr().out.splitlines()]
