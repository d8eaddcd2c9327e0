"""Does the Torch handler load weights by path and answer batches? A tiny model on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from remuda.worker import frames, values

from ..fakes import torch_python
from ..fakes.runner_driver import ENV, Driver, driven
from .far import far
from .harness import real_cluster

pytestmark = pytest.mark.cluster

TARGET = "remuda.worker.torch_model:TorchModel"
LOAD_S = 60.0
SETTINGS = """
[pythons.torch]
path = "{python}"

[node]
python_path = ["{folder}"]

[handlers.net]
target = "{target}"
python = "torch"
max_batch = 4
max_wait = "20ms"
options = {{ weights = "{folder}/net.pt", model = "nets:Double" }}
"""


@contextmanager
def model(tmp_path: Path, max_batch: int = 3, **fields: Any) -> Iterator[Driver]:
    """Host the handler in a worker of the distribution's Python."""
    folder = tmp_path / "code"
    torch_python.make_net(folder, (2.0, 3.0))
    options = {"weights": f"{folder}/net.pt", "model": "nets:Double", **fields.pop("options", {})}
    with driven(tmp_path) as driver:
        driver.host(
            handler=TARGET, python=torch_python.PYTHON, max_batch=max_batch, max_wait_s=10.0,
            options=options, **fields,
        )  # fmt: skip
        yield driver


def answers(driver: Driver, *inputs: object) -> list[Any]:
    driver.wait(frames.Loaded)
    calls = [driver.call("", each) for each in inputs]
    driver.send_calls(*calls)
    found: list[Any] = []
    for each in driver.outcomes(*calls):
        is_good = each.status == frames.OK
        found.append(values.decode(each.body) if is_good else frames.unpack_failure(each.body))
    return found


def plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def test_a_batch_is_answered_row_by_row_from_weights_on_disk(tmp_path: Path) -> None:
    with model(tmp_path) as driver:
        found = answers(driver, [1.0, 1.0], [1.0, 0.0], [0.0, 1.0])
    assert [[5.0], [2.0], [3.0]] == [plain(each) for each in found]


def test_without_a_module_the_weights_are_a_torchscript_archive(tmp_path: Path) -> None:
    archive = {"weights": f"{tmp_path}/code/script.pt", "model": ""}
    with model(tmp_path, max_batch=1, options=archive) as driver:
        assert [5.0] == plain(*answers(driver, [1.0, 1.0]))


def test_an_input_of_another_shape_fails_alone(tmp_path: Path) -> None:
    with model(tmp_path) as driver:
        good, wrong, nonsense = answers(driver, [1.0, 1.0], [1.0, 2.0, 3.0], "text")
    assert [5.0] == plain(good)
    assert ("exception", "RuntimeError") == (wrong.code, wrong.type)
    assert "exception" == nonsense.code


def test_what_does_not_fit_into_the_card_fails_alone_as_that(tmp_path: Path) -> None:
    with model(tmp_path) as driver:
        first, large, third = answers(driver, [1.0, 1.0], [13.0, 0.0], [0.0, 1.0])
    assert ([5.0], [3.0]) == (plain(first), plain(third))
    assert "gpu_out_of_memory" == large.code


def test_weights_that_would_run_code_do_not_load(tmp_path: Path) -> None:
    path = tmp_path / "strange.pt"
    torch_python.make_net(tmp_path / "code", (2.0, 3.0))
    torch_python.make_strange(path)
    with model(tmp_path, options={"weights": str(path)}) as driver:
        failure = driver.wait(frames.WorkerEnded).failure
    assert "model_unavailable" == failure["code"]
    assert "Unsupported" in failure["message"]


def test_a_granted_card_that_this_pytorch_cannot_use_is_an_error(tmp_path: Path) -> None:
    pinned = {**ENV, "CUDA_VISIBLE_DEVICES": "GPU-1", "REMUDA_GPU_UUIDS": "GPU-1"}
    with model(tmp_path, env=pinned) as driver:
        failure = driver.wait(frames.WorkerEnded).failure
    assert "was granted GPU-1, which this PyTorch" in failure["message"]


def test_a_cluster_calls_it_in_the_interpreter_that_its_handler_names(tmp_path: Path) -> None:
    folder = far().common_folder("torch")
    torch_python.make_net(folder, (2.0, 3.0))
    said = SETTINGS.format(python=torch_python.PYTHON, folder=folder, target=TARGET)
    with real_cluster(tmp_path, 1, None, said) as cluster:
        tasks = cluster.client.map("net", [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        assert [[5.0], [2.0], [3.0]] == [plain(each) for each in tasks.results(timeout=LOAD_S)]
