"""Does a node take what fits its own files, refuse the rest with the reason, and remember it?"""

from pathlib import Path

import pytest

from remuda.config.changes import Change, to_plain
from remuda.config.packaged import packaged
from remuda.config.settings import Settings
from remuda.config.sources import Sources
from remuda.config.tuning import FILE
from remuda.node.tuning import FULL_EVERY, SAY_NEW_TIMES, Tuning, begin
from remuda.protocol.configured import NodeConfig, digest_of, from_document
from remuda.protocol.messages import Configure


class Bench:
    """A node's directory and file, its tuning, and what followed."""

    def __init__(self, folder: Path, text: str = "") -> None:
        self.folder, self.file = folder, folder / "home" / "remuda.toml"
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(text)
        self.followed: list[Settings] = []
        self.start()

    def start(self) -> None:
        sources = Sources(self.file.parent, {}, {}, self.folder / "no-etc")
        self.tuning: Tuning = begin(sources, self.folder)
        self.tuning.followers.append(self.followed.append)

    def tell(self, *, reloads: int = 0, version: int = 2, **values: object) -> Configure:
        changes = {
            key.replace("__", "."): Change(value, "ana", 5, version)
            for key, value in values.items()
        }
        plain = to_plain(changes)
        message = Configure(b"i", version, digest_of(plain, reloads), reloads, plain)
        self.tuning.on_configure(message)
        return message

    def report(self) -> NodeConfig:
        return from_document(self.tuning.document_due())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_node_to_which_nothing_was_ever_said_names_nothing(bench: Bench) -> None:
    assert b"" == bench.tuning.digest


def test_what_is_live_is_followed_and_confirmed_at_once(bench: Bench) -> None:
    message = bench.tell(node__runner_idle="33s")
    assert [33.0] == [each.node.runner_idle_s for each in bench.followed]
    assert message.digest == bench.tuning.digest
    shown = bench.report().entries["node.runner_idle"]
    assert ('"33s"', "changed by ana in version 2", "changed") == (
        shown.text,
        shown.origin,
        shown.layer,
    )


def test_a_host_that_can_open_no_file_any_more_still_reports(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged.cache_clear()
    monkeypatch.setattr("remuda.config.sources.DEFAULTS_FILE", bench.folder / "none")
    bench.tell(node__runner_idle="33s")
    assert "node.runner_idle" in bench.report().entries


def test_what_needs_a_restart_waits_for_it(bench: Bench) -> None:
    bench.tell(node__transfers=7)
    assert ("node.transfers",) == bench.report().waiting
    assert 4 == bench.followed[-1].node.transfers
    bench.start()
    assert (7, ()) == (bench.tuning.running.node.transfers, bench.tuning.waiting)


def test_what_contradicts_its_own_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 'node.output_max = "64MiB"')
    message = bench.tell(tasks__output_max="128MiB")
    said = bench.report()
    assert (message.digest, b"") == (said.refused, bench.tuning.digest)
    assert "tasks.output_max must be at most node.output_max" in said.why
    assert [] == bench.followed
    assert not (tmp_path / FILE).exists()


def test_a_file_that_is_mended_lets_it_take_what_it_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 'node.output_max = "64MiB"')
    bench.tell(tasks__output_max="128MiB")
    bench.file.write_text("")
    bench.tuning.on_signal()
    assert b"" == bench.report().refused
    message = bench.tell(tasks__output_max="128MiB")
    assert message.digest == bench.tuning.digest


def test_a_hangup_with_a_bad_file_changes_nothing(bench: Bench) -> None:
    bench.tell(node__runner_idle="33s")
    bench.file.write_text("node.runners_max = 'many'")
    bench.tuning.on_signal()
    assert 1 == len(bench.followed)
    bench.file.write_text("node.runners_max = 9")
    bench.tuning.on_signal()
    assert (33.0, 9) == (
        bench.followed[-1].node.runner_idle_s,
        bench.followed[-1].node.runners_max,
    )


def test_files_are_read_again_only_when_that_is_asked(bench: Bench) -> None:
    bench.file.write_text("node.runners_max = 9")
    bench.tell(node__runner_idle="33s")
    assert 256 == bench.followed[-1].node.runners_max
    bench.tell(node__runner_idle="33s", reloads=1)
    assert 9 == bench.followed[-1].node.runners_max


def test_a_start_goes_by_its_files_alone_where_they_contradict_the_changes(bench: Bench) -> None:
    message = bench.tell(tasks__output_max="128MiB")
    bench.file.write_text('node.output_max = "64MiB"')
    bench.start()
    assert (b"", message.digest) == (bench.tuning.digest, bench.report().refused)
    assert 64 << 20 == bench.tuning.running.tasks.output_bytes_max


@pytest.mark.parametrize("text", ["", "{", "[]", '{"changes": {"node.cpus": 3}}', "\x00"])
def test_a_file_of_changes_that_is_damaged_is_as_none(bench: Bench, text: str) -> None:
    (bench.folder / FILE).write_text(text)
    bench.start()
    assert b"" == bench.tuning.digest


def test_what_did_not_arrive_as_it_was_sent_is_refused(bench: Bench) -> None:
    message = Configure(b"i", 2, b"d" * 16, 0, {"node.cpus": [3, "ana", 5, 2]})
    bench.tuning.on_configure(message)
    assert (b"d" * 16, b"") == (bench.report().refused, bench.tuning.digest)
    bench.tuning.on_configure(Configure(b"i", 2, b"e" * 16, 0, {"node.cpus": 3}))
    assert b"e" * 16 == bench.report().refused


def test_changes_of_a_newer_release_are_left_alone(bench: Bench) -> None:
    message = bench.tell(node__of_tomorrow=1, node__runner_idle="33s")
    assert message.digest == bench.tuning.digest
    assert 33.0 == bench.followed[-1].node.runner_idle_s


def test_the_report_is_said_several_times_when_it_is_new_and_now_and_then_later(bench) -> None:
    bench.tell(node__runner_idle="33s")
    beats = [bool(bench.tuning.document_due()) for _ in range(SAY_NEW_TIMES + FULL_EVERY)]
    assert [True] * SAY_NEW_TIMES == beats[:SAY_NEW_TIMES]
    assert [False] * (FULL_EVERY - 1) + [True] == beats[SAY_NEW_TIMES:]
