"""Are handlers drawn as they are on each node, and do the verbs about them say what they did?"""

import json

import pytest

from remuda.cli import main, screen
from remuda.cli.handler_drawing import nodes_in_short, table
from remuda.client.client import Client
from remuda.protocol import messages as m

from ..fakes.toy_scheduler import home_of, toy_of_commands

GIB = 1 << 30


def on(node: str, state: str, **more: object) -> dict[str, object]:
    return {
        "node": node, "state": state, "why": "", "declared": "node", "overrides": False,
        "target": "photos.repair:Inpainter", "models": ["lama"], "workers": 1,
        "vram_bytes": 4 * GIB, "used_bytes": None, "loaded": 0, "running": 0, "calls": 0,
        "called_ms": 0, "verified": False, "disabled": {}, "reload": 0, "reloaded": 0,
        "residents": [], **more,
    }  # fmt: skip


IDLE = on(
    "gpu-1", "idle", used_bytes=3 * GIB, loaded=1, calls=12, called_ms=1_000, overrides=True,
    residents=[{
        "model": "lama", "gpu_uuid": "GPU-8f3a6c1d-0000", "state": "ready", "calls": 0,
        "idle_ms": 90_000, "load_ms": 2_500, "vram_bytes": 4 * GIB, "used_bytes": 3 * GIB,
        "error": "",
    }],
)  # fmt: skip
FAILED = on("gpu-2", "failed", declared="scheduler", why="ModuleNotFoundError: photos")
OFF = {"reason": "it lies", "by": "olga", "since_ms": 1_000}


def handler(*nodes: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "name": "inpaint", "target": "photos.repair:Inpainter", "declared": ["scheduler", "node"],
        "selector": "gpu=l4", "models": ["lama"], "vram_bytes": 4 * GIB, "used_bytes": 3 * GIB,
        "running": 0, "queued": 2, "calls": 12, "called_ms": 1_000, "disabled": {},
        "nodes": list(nodes), **more,
    }  # fmt: skip


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Let commands speak to a scheduler that knows a handler on two nodes."""
    with toy_of_commands(tmp_path, monkeypatch) as toy:
        toy.on[m.ListHandlers] = lambda _: m.Page([handler(IDLE, FAILED)], 1)
        toy.on[m.SwitchHandler] = lambda message: m.Done(f"{message.handler} {message.on}")
        yield toy


def run(capsys, *line: str) -> tuple[int, str, str]:
    code = main.run(list(line))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_list_says_where_a_handler_is_declared_and_how_it_does_on_its_nodes(
    capsys, cluster
) -> None:
    code, out, _ = run(capsys, "handler", "list")
    head, row = out.splitlines()
    assert (0, "HANDLER") == (code, head.split()[0])
    for part in ("inpaint", "scheduler+node", "1 idle, 1 failed", "lama", "3GiB", "12"):
        assert part in row


def test_states_come_in_the_same_order_always() -> None:
    assert "1 busy, 2 cold, 1 away" == nodes_in_short(
        [on("a", "away"), on("b", "cold"), on("c", "busy"), on("d", "cold")]
    )
    assert "none" == nodes_in_short([])


def test_a_page_has_each_node_with_its_reason_and_each_model(capsys, cluster) -> None:
    cluster.on[m.ListHandlers] = lambda _: m.Page([handler(IDLE, FAILED, disabled=OFF)], 1)
    code, out, _ = run(capsys, "handler", "show", "inpaint")
    assert 0 == code
    for part in (
        "gpu=l4", "node (over the scheduler)", "ModuleNotFoundError: photos", "GPU-8f3a6c1d",
        "1m 30s", "2.5s", "by olga", "it lies",
    ):  # fmt: skip
        assert part in out


def test_programs_get_times_that_are_times_and_what_is_not_known_as_null(capsys, cluster) -> None:
    _, out, _ = run(capsys, "handler", "list", "--json")
    (row,) = json.loads(out)
    idle, failed = row["nodes"]
    assert "1970-01-01T00:00:01.000Z" == row["called_at"] == idle["called_at"]
    assert (None, None, None, False) == (
        failed["called_at"],
        failed["used_bytes"],
        failed["disabled"],
        failed["reload_pending"],
    )
    code, out, _ = run(capsys, "handler", "list", "-q")
    assert (0, "inpaint\n") == (code, out)


def test_several_are_disabled_and_enabled_one_after_the_other(capsys, cluster) -> None:
    code, out, _ = run(capsys, "handler", "disable", "a", "b", "--node", "n", "--reason", "lies")
    assert (0, ["toy: a False", "toy: b False"]) == (code, out.splitlines())
    assert [m.SwitchHandler(name, "n", False, "lies") for name in "ab"] == cluster.heard_of(
        m.SwitchHandler
    )
    code, out, _ = run(capsys, "handler", "enable", "a", "--json")
    assert [{"handler": "a", "cluster": "toy", "message": "a True"}] == json.loads(out)


def reloads(cluster, *looks: dict[str, object], passed_over: dict[str, str] | None = None) -> None:
    """Have a reload asked of gpu-1 as number 7, and these be seen one after the other."""
    left = list(looks)
    cluster.on[m.ReloadHandler] = lambda _: m.Document(
        {"handler": "inpaint", "nodes": {"gpu-1": 7}, "passed_over": passed_over or {}}
    )
    cluster.on[m.ListHandlers] = lambda _: m.Page(
        [handler(left.pop(0) if len(left) > 1 else left[0])], 1
    )


def test_a_reload_waits_until_the_node_has_confirmed_and_loaded(capsys, cluster) -> None:
    reloads(
        cluster,
        on("gpu-1", "busy", running=1, reload=7),
        on("gpu-1", "loading", reloaded=7),
        on("gpu-1", "idle", reloaded=7),
        passed_over={"gpu-3": "is lost"},
    )
    code, out, err = run(capsys, "handler", "reload", "inpaint")
    assert (0, ["toy: gpu-1 has loaded handler inpaint anew: idle"]) == (code, out.splitlines())
    assert ["toy: gpu-3 is passed over: it is lost", "gpu-1: 1 call may end before"] == (
        err.splitlines()
    )


def test_a_reload_that_fails_on_a_node_exits_with_1_and_says_why(capsys, cluster) -> None:
    reloads(cluster, on("gpu-1", "failed", reloaded=7, why="no weights"))
    code, out, _ = run(capsys, "handler", "reload", "inpaint")
    assert (1, "toy: handler inpaint is failed on gpu-1: no weights") == (
        code,
        out.strip(),
    )


def test_a_reload_that_is_not_confirmed_in_time_exits_with_124(capsys, cluster) -> None:
    reloads(cluster, on("gpu-1", "busy", running=1, reload=7))
    code, _, err = run(capsys, "handler", "reload", "inpaint", "--timeout", "10ms")
    assert (124, True) == (code, "gpu-1 did not confirm the reload of inpaint" in err)


def test_the_python_client_has_the_same_verbs(cluster) -> None:
    reloads(cluster, on("gpu-1", "idle", reloaded=7))
    with Client(home_of(cluster)) as client:
        assert ["inpaint"] == [row["name"] for row in client.handlers()]
        assert "x False" == client.disable_handler("x", reason="lies")
        assert "x True" == client.enable_handler("x")
        assert "idle" == client.reload_handler("inpaint")["gpu-1"]["state"]


def test_an_empty_name_shows_no_handler(capsys, cluster) -> None:
    assert 4 == main.run(["handler", "show", ""])
    assert "NAME is empty" in capsys.readouterr().err


def test_a_narrow_terminal_shows_the_figures_of_handlers_whole(capsys, monkeypatch) -> None:
    row = {
        "name": "classify", "target": "photos.labels:Classify", "declared": ["scheduler", "node"],
        "nodes": [{"state": "idle"}] * 3, "models": ["sdxl", "flux"], "vram_bytes": 0,
        "used_bytes": None, "running": 2, "queued": 1_000, "calls": 12_345, "called_ms": 0,
    }  # fmt: skip
    for columns, has_models in ((80, False), (160, True)):
        monkeypatch.setattr(screen, "columns_shown", lambda columns=columns: columns)
        table([row], 0.0)
        said = capsys.readouterr().out
        assert "12,345" in said
        assert has_models == ("sdxl, flux" in said)
        assert "…" not in said
