"""Are GPUs drawn as they are, whatever the width, and do the verbs about them say what they did?"""

import json

import pytest

from remuda.cli import gpu_drawing, main, screen
from remuda.protocol import ids
from remuda.protocol import messages as m

from ..fakes.toy_scheduler import toy_of_commands

GIB = 1 << 30


def gpu(index: int = 0, **more: object) -> dict[str, object]:
    return {
        "uuid": f"GPU-{index}f3a6c1d-0000", "name": "NVIDIA L4", "index": index,
        "memory_bytes": 24 * GIB, "used_bytes": 0, "free_bytes": 24 * GIB, "cc": 89,
        "ours_bytes": 0, "foreign_bytes": 0, "foreign": 0, "temperature_c": 41,
        "utilisation_percent": 0, "power_w": 35, "running": 0, "models": [], "faults": [],
        "health": "healthy", "why": "", "node": "gpu-1", "tasks": [], **more,
    }  # fmt: skip


SICK = gpu(
    2, health="faulty", why="XID 79: it is gone", faults=["XID 79: it is gone"],
    temperature_c=None, utilisation_percent=None, cordoned_by="health", cordoned_ms=1_000,
)  # fmt: skip
BUSY = gpu(
    ours_bytes=12 * GIB, used_bytes=12 * GIB, free_bytes=6 * GIB, foreign_bytes=6 * GIB, foreign=1,
    running=1, models=[{"handler": "inpaint", "model": "lama", "state": "ready"}],
    tasks=[{"id": ids.to_bytes(7), "number": 3, "state": "running", "vram_bytes": 12 * GIB}],
)  # fmt: skip


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Let commands speak to a scheduler that knows two GPUs."""
    with toy_of_commands(tmp_path, monkeypatch) as toy:
        toy.on[m.ListGpus] = lambda message: m.Page(
            [row for row in (BUSY, SICK) if not message.gpu or message.gpu == row["uuid"]], 2
        )
        toy.on[m.CordonGpu] = lambda message: m.Done(f"{message.gpu} gets no new work")
        toy.on[m.UncordonGpu] = lambda message: m.Done(f"{message.gpu} gets work again")
        yield toy


def run(capsys, *line: str) -> tuple[int, str, str]:
    code = main.run(list(line))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("row", "drawn"),
    [
        (gpu(), "········"),
        (BUSY, "████▒▒··"),
        (SICK, "////////"),
        (gpu(ours_bytes=24 * GIB, free_bytes=0), "████████"),
        (gpu(ours_bytes=1, foreign_bytes=1), "█▒······"),
        (gpu(ours_bytes=6 * GIB, free_bytes=12 * GIB), "██░░····"),
        (gpu(free_bytes=22 * GIB), "········"),
        (gpu(ours_bytes=24 * GIB, foreign_bytes=GIB), "████████"),
        (gpu(ours_bytes=None, foreign_bytes=None, used_bytes=6 * GIB), "██······"),
        (gpu(memory_bytes=0, free_bytes=0), "········"),
    ],
)
def test_a_bar_shows_whose_the_memory_is(row, drawn) -> None:
    assert drawn == gpu_drawing.bar(row, 8).plain


def test_a_pipe_gets_every_reason_in_its_row(capsys, cluster) -> None:
    code, out, _ = run(capsys, "gpu", "list")
    head, busy, sick = out.splitlines()
    assert 0 == code
    assert "NODE GPU NAME MEMORY OURS FOREIGN FREE TEMP BUSY TASKS MODELS HEALTH UUID" == (
        " ".join(head.split())
    )
    assert "12GiB 6GiB (1) 6GiB 41°C 0% 1 lama healthy GPU-0f3a6c1d" in " ".join(busy.split())
    assert "- - 0 - faulty: XID 79: it is gone GPU-2f3a6c1d" in " ".join(sick.split())


@pytest.mark.parametrize("columns", [60, 80, 109, 200])
def test_no_line_is_wider_than_the_terminal(capsys, monkeypatch, columns) -> None:
    monkeypatch.setattr(screen, "columns_shown", lambda: columns)
    monkeypatch.setattr(screen, "is_terminal", lambda: True)
    rows = [BUSY, gpu(1, name="NVIDIA A100-SXM4-80GB MIG 3g.40gb"), SICK]
    gpu_drawing.table(rows, with_node=True)
    gpu_drawing.overview([{"name": "gpu-1", "gpus": rows * 20}, {"name": "cpu-1", "gpus": []}])
    lines = capsys.readouterr().out.splitlines()
    assert "! gpu-1 GPU 2 is faulty: XID 79: it is gone" in lines
    assert max(map(len, lines)) <= columns
    assert not [line for line in lines if "cpu-1" in line]


def test_a_fleet_is_drawn_with_one_small_bar_per_card(capsys, monkeypatch) -> None:
    monkeypatch.setattr(screen, "columns_shown", lambda: 40)
    gpu_drawing.overview([{"name": "gpu-1", "gpus": [BUSY, gpu(1), SICK]}])
    assert ["gpu-1  ██▒· ···· ////", "█ ours   ▒ foreign   · free   / not lent"] == (
        capsys.readouterr().out.splitlines()
    )


def test_programs_get_stable_keys_and_ids_as_text(capsys, cluster) -> None:
    _, out, _ = run(capsys, "gpu", "list", "--json")
    busy, sick = json.loads(out)
    assert (12 * GIB, 6 * GIB, 6 * GIB) == (
        busy["ours_bytes"], busy["foreign_bytes"], busy["free_bytes"],
    )  # fmt: skip
    assert [(3, "running")] == [(each["number"], each["state"]) for each in busy["tasks"]]
    assert 26 == len(busy["tasks"][0]["id"])
    assert ("faulty", None, "1970-01-01T00:00:01.000Z") == (
        sick["health"], sick["temperature_c"], sick["cordoned_at"],
    )  # fmt: skip


def test_a_listing_is_limited_and_says_how_to_go_on(capsys, cluster) -> None:
    _, out, err = run(capsys, "gpu", "list", "--limit", "1")
    assert (2, f"1 of 2 shown; more: --cursor {BUSY['uuid']}\n") == (len(out.splitlines()), err)
    _, out, err = run(capsys, "gpu", "list", "-q", "--cursor", str(BUSY["uuid"]))
    assert (f"{SICK['uuid']}\n", "") == (out, err)


def test_a_gpu_is_shown_with_its_faults_since_when_and_its_tasks(capsys, cluster) -> None:
    _, out, _ = run(capsys, "gpu", "show", str(SICK["uuid"]))
    assert out.startswith("gpu GPU-2f3a6c1d-0000 faulty: XID 79: it is gone\n////")
    assert "cordoned  since 1970-01-01T00:00:01.000Z" in out
    assert "by health" in out
    _, out, _ = run(capsys, "gpu", "show", str(BUSY["uuid"]))
    assert "6GiB of 1 process" in out
    assert "3  running  12GiB" in out


def test_cordon_and_uncordon_name_the_cluster_and_what_they_changed(capsys, cluster) -> None:
    _, out, _ = run(capsys, "gpu", "cordon", "gpu-1:0", "GPU-2", "--reason", "it rattles")
    assert "toy: gpu-1:0 gets no new work\ntoy: GPU-2 gets no new work\n" == out
    assert [m.CordonGpu("gpu-1:0", "it rattles"), m.CordonGpu("GPU-2", "it rattles")] == (
        cluster.heard_of(m.CordonGpu)
    )
    _, out, _ = run(capsys, "gpu", "uncordon", "GPU-2", "--json")
    assert [{"gpu": "GPU-2", "cluster": "toy", "message": "GPU-2 gets work again"}] == (
        json.loads(out)
    )
