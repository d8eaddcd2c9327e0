"""Facts of GPUs, pinning and release: what one reading means."""

import ast
import re

import pynvml
import pytest

from remuda.node.gpu import (
    RELEASE_SLACK_BYTES,
    Gpu,
    GpuProcess,
    PinningError,
    Reading,
    ReadingError,
    gpu_from_plain,
    gpu_to_plain,
    pinning_env,
    reading_from_plain,
    released,
)
from remuda.node.probe import CHILD

from ..fakes import scenario

GIB = 1024**3


def gpu(uuid: str = "GPU-a", used_bytes: int = 0, pids: tuple[int, ...] = (), **more) -> Gpu:
    facts = {
        "index": 0,
        "name": "card",
        "memory_bytes": 24 * GIB,
        "memory_free_bytes": 24 * GIB - used_bytes,
        "cc": 86,
        "driver": "550",
        "processes": tuple(GpuProcess(pid, None) for pid in pids),
    }
    return Gpu(uuid=uuid, **(facts | more))


def plain(*cards: Gpu) -> dict[str, object]:
    return {
        "driver": "550",
        "reason": "",
        "lost": [],
        "xids": [],
        "gpus": [gpu_to_plain(c) for c in cards],
    }


def test_a_gpu_survives_its_plain_form() -> None:
    card = gpu(pids=(7, 8), bus="00000000:01:00.0", temperature_c=40)
    assert card == gpu_from_plain(gpu_to_plain(card))


def test_cards_stand_in_the_order_of_their_index() -> None:
    reading = reading_from_plain(plain(gpu("GPU-late", index=3), gpu("GPU-early", index=1)))
    assert [("GPU-early", 1), ("GPU-late", 3)] == [(g.uuid, g.index) for g in reading.gpus]


def test_one_uuid_listed_twice_is_no_reading() -> None:
    with pytest.raises(ReadingError, match="twice"):
        reading_from_plain(plain(gpu(), gpu()))


@pytest.mark.parametrize(
    "damage",
    [
        {"uuid": ""},
        {"uuid": 5},
        {"memory_bytes": -1},
        {"memory_bytes": True},
        {"memory_free_bytes": 1 << 63},
        {"cc": "8.6"},
        {"mig": 1},
        {"processes": [{"pid": None, "memory_bytes": None}]},
        {"processes": 3},
    ],
)
def test_a_gpu_with_a_wrong_field_is_no_reading(damage: dict[str, object]) -> None:
    body = plain() | {"gpus": [gpu_to_plain(gpu()) | damage]}
    with pytest.raises(ReadingError):
        reading_from_plain(body)


@pytest.mark.parametrize("body", [None, 3, [], "x", {}, {"gpus": []}])
def test_what_has_another_shape_is_no_reading(body: object) -> None:
    with pytest.raises(ReadingError):
        reading_from_plain(body)


def test_a_task_sees_the_uuids_it_was_granted() -> None:
    expected = {
        "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "REMUDA_GPU_UUIDS": "GPU-a,GPU-b",
    }
    assert expected == pinning_env(["GPU-a", "GPU-b"])


def test_a_task_without_gpus_sees_none() -> None:
    assert pinning_env([])["CUDA_VISIBLE_DEVICES"] == ""


def test_pinning_by_index_still_names_the_uuids() -> None:
    env = pinning_env(["GPU-b"], "index", [gpu("GPU-a"), gpu("GPU-b", index=1)])
    assert (env["CUDA_VISIBLE_DEVICES"], env["REMUDA_GPU_UUIDS"]) == ("1", "GPU-b")


def test_pinning_by_index_refuses_a_card_that_is_not_known() -> None:
    with pytest.raises(PinningError, match="GPU-b"):
        pinning_env(["GPU-b"], "index", [gpu("GPU-a")])


def test_several_mig_devices_are_refused_to_one_task() -> None:
    with pytest.raises(PinningError, match="MIG"):
        pinning_env(["MIG-a", "MIG-b"])


def test_a_mig_device_is_pinned_by_uuid_even_where_cards_go_by_index() -> None:
    assert pinning_env(["MIG-a"], "index")["CUDA_VISIBLE_DEVICES"] == "MIG-a"


def free(card: Gpu, alone: bool = True, baseline: dict[str, int] | None = None) -> bool:
    return released(Reading(gpus=(card,)), ["GPU-a"], frozenset({7}), alone, baseline or {})


def test_a_gpu_with_a_pid_of_the_attempt_is_not_free() -> None:
    assert not free(gpu(pids=(7,)))


def test_a_gpu_that_only_neighbours_use_is_free() -> None:
    assert free(gpu(pids=(8,), used_bytes=9 * GIB), alone=False, baseline={"GPU-a": 0})


def test_a_gpu_used_alone_is_free_only_near_its_baseline() -> None:
    limit = GIB + RELEASE_SLACK_BYTES
    baseline = {"GPU-a": GIB}
    near, above = gpu(used_bytes=limit), gpu(used_bytes=limit + 1)
    assert [free(near, True, baseline), free(above, True, baseline)] == [True, False]


def test_where_pids_are_hidden_memory_decides_for_a_shared_gpu() -> None:
    card = gpu(used_bytes=9 * GIB, pids_visible=False)
    assert not free(card, alone=False, baseline={"GPU-a": GIB})


def test_a_gpu_that_vanished_is_not_free() -> None:
    assert not released(Reading(), ["GPU-a"], frozenset(), False, {})


def test_the_scripted_nvml_has_no_name_that_the_real_one_lacks() -> None:
    own = {"MEMORY_BYTES", "PIDS_VISIBLE"}
    names = {
        name
        for node in ast.walk(ast.parse(scenario.SCRIPTED.read_text()))
        for name in defined(node)
        if not name.startswith("_")
    }
    assert set() == {name for name in names - own if not hasattr(pynvml, name)}


def defined(node: ast.AST) -> list[str]:
    """Return what a statement of a module defines, NVML's way of naming it."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name] if node.name.lower().startswith("nvml") else []
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name) and t.id.isupper()]
    return []


def test_the_child_asks_only_for_names_that_both_nvmls_have() -> None:
    text = CHILD.read_text()
    names = set(re.findall(r"nvml\.((?:nvml|NVML)\w+)", text))
    scripted = scenario.SCRIPTED.read_text()
    assert len(names) > 15
    assert set() == {name for name in names if not hasattr(pynvml, name)}
    assert set() == {name for name in names if not re.search(rf"\b{name}\b", scripted)}
