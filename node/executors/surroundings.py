"""What does every task of this node find around it: environment, directories, cards?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...config.settings import Settings
from ...worker.batches import attempt_key
from ..gpu import Gpu, pinning_env
from ..interpreters import Interpreter
from ..premises import Premises

INHERITED = ("PATH", "HOME", "LANG")
EDGE_BYTES_MAX = 256 * 1024
PATH_DEFAULT = "/usr/local/bin:/usr/bin:/bin"


@dataclass(slots=True)
class Surroundings:
    """What the host and the settings give to each task; `known_gpus` tells the last reading.

    `settings` are replaced when they change: what starts from then on goes by them.
    """

    node: str
    settings: Settings
    work_dir: Path
    known_gpus: Callable[[], Sequence[Gpu]] = tuple
    inherited: Mapping[str, str] = field(default_factory=lambda: inherited_env(os.environ))
    python: str = sys.executable
    premises: Premises = field(default_factory=Premises)

    def env(
        self,
        own: Mapping[str, str],
        gpus: tuple[str, ...],
        python: Interpreter | None = None,
        *,
        user: str = "",
    ) -> dict[str, str]:
        """Build a clean environment; raises PinningError when the cards cannot be shown.

        Another user's home is known to who starts the task.
        """
        given = self.inherited
        env = {
            **({name: given[name] for name in given if name != "HOME"} if user else given),
            **self.settings.tasks.env,
            **own,
            **pinning_env(gpus, self.settings.node.gpu_ids, self.known_gpus()),
            "REMUDA_NODE": self.node,
        }
        return python.env(env) if python is not None else env

    def program(self, python: Interpreter | None) -> str:
        """Return the path of the Python that a worker is started with."""
        return str(python.path) if python is not None else self.python

    @property
    def tasks_dir(self) -> Path:
        """Return where attempts that have files find them, each in a directory of its own."""
        return self.work_dir.with_name("tasks")

    def task_dir(self, task: bytes, number: int) -> Path:
        """Return the directory of an attempt that has files."""
        return self.tasks_dir / attempt_key(task, number)

    def project_dir(self, digest: bytes) -> Path:
        """Return where the code of a project lies for functions."""
        return self.work_dir.with_name("cache") / "projects" / digest.hex()

    @property
    def edge_bytes(self) -> int:
        """Say how much of the first and last output goes with a result, so that it fits a frame."""
        return min(self.settings.tasks.output_edge_bytes, EDGE_BYTES_MAX)

    @property
    def python_path(self) -> list[str]:
        return [str(path) for path in self.settings.node.python_path]


def inherited_env(env: Mapping[str, str]) -> dict[str, str]:
    """Keep of an agent's environment what tasks may see."""
    return {"PATH": PATH_DEFAULT} | {name: env[name] for name in INHERITED if name in env}
