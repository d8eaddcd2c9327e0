"""Does `remuda stats` say what is known of each kind of task, and what is not?"""

import json

import pytest

from remuda.cli import main
from remuda.protocol import messages as m

from ..fakes.toy_scheduler import toy_of_commands

GIB = 1 << 30


def row(kind: str, size_class: int = 0, **more: int) -> dict[str, object]:
    return {
        "kind": kind, "size_class": size_class, "runs": 4, "run_p50_ms": 2_000,
        "run_p95_ms": 65_000, "measured": 0, "vram_p50_bytes": 0, "vram_p95_bytes": 0,
        "vram_max_bytes": 0, "ooms": 0, "auto_bytes": 0, **more,
    }  # fmt: skip


KNOWN = row(
    "function a:b", 20, runs=1_234, measured=64, vram_p50_bytes=6 * GIB, vram_p95_bytes=8 * GIB,
    vram_max_bytes=9 * GIB, ooms=2, auto_bytes=8 * GIB + GIB // 2,
)  # fmt: skip
NEW = row("function a:c")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Let commands speak to a scheduler that knows two kinds."""
    with toy_of_commands(tmp_path, monkeypatch) as toy:
        toy.on[m.ListStats] = lambda message: m.Page(
            [each for each in (KNOWN, NEW) if str(each["kind"]).startswith(message.kind)], 2
        )
        yield toy


def run(capsys, *line: str) -> tuple[int, str, str]:
    code = main.run(list(line))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_each_kind_has_its_run_times_peaks_and_what_auto_reserves(capsys, cluster) -> None:
    code, out, _ = run(capsys, "stats")
    head, known, new = [" ".join(line.split()) for line in out.splitlines()]
    assert (0, "KIND SIZE RUNS RUN P50 P95 VRAM P50 P95 MAX OOM AUTO") == (code, head)
    assert "function a:b 20 1,234 2s 1m 5s 6GiB 8GiB 9GiB 2 8.5GiB" == known
    assert "function a:c - 4 2s 1m 5s - - - - whole GPU" == new


def test_only_kinds_that_begin_so_are_told(capsys, cluster) -> None:
    _, out, _ = run(capsys, "stats", "function a:c", "--json")
    assert [NEW] == json.loads(out)
    _, out, err = run(capsys, "stats", "handler")
    assert ("", "no kind begins 'handler'\n") == (out, err)


def test_a_page_goes_on_after_its_last_row(capsys, cluster) -> None:
    _, out, err = run(capsys, "stats", "-q", "--limit", "1")
    assert ("function a:b\n", "") == (out, err)
    _, out, err = run(capsys, "stats", "--limit", "1")
    assert "1 of 2 shown; more: --cursor 'function a:b ~20'" in err
    _, out, _ = run(capsys, "stats", "-q", "--cursor", "function a:b ~20")
    assert "function a:c\n" == out
