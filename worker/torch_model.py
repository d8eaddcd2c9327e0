"""A PyTorch model as a handler: weights by path, on the granted GPU or the CPU, batch by batch.

Name it as the target of a handler, or a subclass that says how its model is built and what goes in:

    [handlers.classify]
    target = "remuda.worker.torch_model:TorchModel"
    python = "torch"                    # an interpreter of this node that has PyTorch
    vram = "2GiB"                       # without it: on the CPU
    max_batch = 16
    max_wait = "5ms"
    options = { weights = "/models/net.pt", model = "photos.nets:Net" }

PyTorch itself is imported by `load()`, in the worker: nothing else of remuda knows of it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

from .current import current
from .failures import GPU_OUT_OF_MEMORY, OUT_OF_MEMORY, code_of

_MEMORY = (OUT_OF_MEMORY, GPU_OUT_OF_MEMORY)
ON_GPU = "CUDA_VISIBLE_DEVICES"


class TorchModel:
    """Holds one module; a call gives it one array, or number, and gets back what it makes of it.

    `weights` is a file of a state dict (`.pt`, read with `weights_only`, or `.safetensors`) for the
    module that `model`, as MODULE:CALLABLE, or `build` makes; without either it is a TorchScript
    archive, which has its module in it. `{model}` in the path stands for the model of the worker,
    where its handler lists several. `device` is where it runs: unset, the GPU that was granted.
    """

    def __init__(self, weights: str, model: str = "", device: str = "") -> None:
        self.weights = weights
        self.model = model
        self.device: Any = device
        self.module: Any = None
        self.torch: Any = None

    def load(self, model: str = "") -> None:
        """Put the module, with its weights, where it is to run."""
        self.torch = torch = importlib.import_module("torch")
        self.device = torch.device(self.device or self._granted())
        path = self.weights.replace("{model}", model)
        module = self.build()
        if module is None:
            module = torch.jit.load(path, map_location=self.device)
        else:
            module.load_state_dict(self._state(path))
        self.module = module.to(self.device).eval()

    def build(self) -> Any:
        """Make the module that the weights are for; None: it is in the file itself."""
        if not self.model:
            return None
        name, _, qualname = self.model.partition(":")
        found: Any = importlib.import_module(name)
        for part in qualname.split("."):
            found = getattr(found, part)
        return found()

    def prepare(self, value: Any) -> Any:
        """Make a tensor of the argument of one call."""
        return self.torch.as_tensor(value)

    def run(self, inputs: Any) -> Sequence[Any]:
        """Return what the module makes of a stack of tensors, a row for each."""
        return self.module(inputs).unbind(0)  # type: ignore[no-any-return]  # a tuple of tensors

    def finish(self, output: Any) -> Any:
        """Make a value that can travel of the row of one call."""
        output = output.cpu()
        try:
            return output.numpy()
        except RuntimeError:  # no NumPy in this interpreter
            return output.tolist()

    def __call__(self, inputs: Any) -> Any:
        """Answer the calls of a batch, or one call where the handler has no max_batch."""
        if current.batch:
            return self._answers(inputs)
        (answer,) = self._answers([inputs])
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _answers(self, values: Iterable[Any]) -> list[Any]:
        """Return a result or an error for each value; those of one shape run together."""
        found: list[Any] = []
        groups: dict[object, list[tuple[int, Any]]] = {}
        for index, value in enumerate(values):
            found.append(None)
            try:
                tensor = self.prepare(value)
                groups.setdefault((tensor.dtype, tensor.shape), []).append((index, tensor))
            except Exception as error:  # noqa: BLE001 - whatever one call brought fails that call
                found[index] = error
        for members in groups.values():
            indices = [index for index, _ in members]
            for index, answer in zip(indices, self._answers_of([each for _, each in members])):
                found[index] = answer
        return found

    def _answers_of(self, tensors: list[Any]) -> Sequence[Any]:
        torch = self.torch
        try:
            with torch.inference_mode():
                rows = self.run(torch.stack(tensors).to(self.device))
                return [self.finish(row) for row in rows]
        except Exception as error:  # calls of another shape are not to fail of it
            if code_of(error) in _MEMORY:
                raise  # the worker tries it with fewer calls
            return [error] * len(tensors)

    def _state(self, path: str) -> Any:
        """Read a state dict, and nothing that could run code."""
        if path.endswith(".safetensors"):
            return importlib.import_module("safetensors.torch").load_file(path)
        return self.torch.load(path, map_location="cpu", weights_only=True)

    def _granted(self) -> str:
        """Name the device that this worker was granted; one that PyTorch cannot use is an error."""
        if not os.environ.get(ON_GPU):
            return "cpu"
        if not self.torch.cuda.is_available():
            raise RuntimeError(
                f"this worker was granted {', '.join(current.gpus)}, which this PyTorch "
                f"({self.torch.__version__}) cannot use: install one with CUDA for this driver, "
                "or leave vram out to run on the CPU"
            )
        return "cuda"
