"""Which interpreter of this host has PyTorch, for tests of handlers that hold a model in it?"""

import functools
import json
import subprocess
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3"
"""The distribution's: a virtual environment would have to load gigabytes."""
NETS = """
import torch

class Double(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1, bias=False)

    def forward(self, inputs):
        if bool((inputs == 13).any()):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.layer(inputs)
"""
_MAKE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch, nets
net = nets.Double()
net.layer.weight.data = torch.tensor([json.loads(sys.argv[2])])
torch.save(net.state_dict(), sys.argv[1] + "/net.pt")
script = torch.nn.Linear(2, 1, bias=False)
script.weight.data = net.layer.weight.data
torch.jit.script(script).save(sys.argv[1] + "/script.pt")
"""


_MAKE_STRANGE = "import pathlib, sys, torch; torch.save(pathlib.Path('x'), sys.argv[1])"


@functools.cache
def why_not() -> str:
    """Say why there is none; empty when there is."""
    try:
        done = subprocess.run([PYTHON, "-c", "import torch"], capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def make_net(folder: Path, weights: tuple[float, float]) -> None:
    """Write a tiny module, its weights and its archive: it adds two numbers, weighted."""
    if why_not():
        pytest.skip(f"no PyTorch in {PYTHON}: {why_not()}")
    folder.mkdir(exist_ok=True)
    (folder / "nets.py").write_text(NETS)
    subprocess.run([PYTHON, "-c", _MAKE, str(folder), json.dumps(weights)], check=True)


def make_strange(path: Path) -> None:
    """Write weights that are none: to read them would be to call what they name."""
    subprocess.run([PYTHON, "-c", _MAKE_STRANGE, str(path)], check=True)
