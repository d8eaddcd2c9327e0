"""Write scenarios for the scripted NVML, and name the environment that selects one."""

import json
from pathlib import Path

SCRIPTED = Path(__file__).with_name("scripted_nvml.py")
GIB = 1024**3


def card(number: int, memory_bytes: int = 24 * GIB, **more):
    """Describe one card; `number` makes its UUID."""
    uuid = f"GPU-{number:08d}-0000-0000-0000-000000000000"
    return {"uuid": uuid, "memory_bytes": memory_bytes, **more}


def write(path: Path, gpus, **more) -> Path:
    """Replace a scenario file whole, so that a running probe never reads half of one."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps({"gpus": list(gpus), **more}))
    temporary.replace(path)
    return path


def environment(path: Path) -> dict[str, str]:
    """Return the variables that make an agent see this scenario instead of the host's GPUs."""
    return {"REMUDA_NVML": str(SCRIPTED), "REMUDA_NVML_SCENARIO": str(path)}
