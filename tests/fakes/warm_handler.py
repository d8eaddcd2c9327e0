"""Be a handler of several models that writes down what it loads, and fails to load one of them."""

import os
import time
from pathlib import Path


class Draw:
    """Holds one model; `loads` in the folder of the test counts what was loaded where."""

    folder = Path(__file__).parent

    def load(self, model):
        folder = Path(os.environ["WARM_FOLDER"])
        with (folder / "loads").open("a") as file:
            file.write(f"{model}\n")
        here = f"broken-{model}-on-{os.environ['REMUDA_NODE']}"
        if (folder / f"broken-{model}").exists() or (folder / here).exists():
            raise RuntimeError(f"the weights of {model} are not there")
        if (folder / f"slow-{model}").exists():
            time.sleep(3.0)
        self.model = model

    def __call__(self, gate=""):
        folder = Path(os.environ["WARM_FOLDER"])
        while gate and not (folder / gate).exists():
            time.sleep(0.01)
        return {
            "model": self.model,
            "node": os.environ["REMUDA_NODE"],
            "pid": os.getpid(),
            "card": os.environ.get("REMUDA_GPU_UUIDS"),
            "variable": os.environ.get("REMUDA_MODEL"),
        }
