"""Do the lines of many sources stay whole, each with the name of its source?"""

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
