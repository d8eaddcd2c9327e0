"""What does a node offer around its tasks beside cards and CPUs: interpreters, secrets?"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..config.credentials import CREDENTIALS_VARIABLE
from ..config.settings import EnvironmentSettings, Settings
from .environments import Environments, installer_env
from .interpreters import Interpreter, Interpreters
from .secret_files import SecretFiles


def _own() -> Interpreter:
    is_venv = sys.prefix != sys.base_prefix
    version = platform.python_version()
    return Interpreter(Path(sys.executable), version, sys.prefix, is_venv, has_msgpack=True)


@dataclass(slots=True)
class Premises:
    """Keep them up to date; empty: a node that offers nothing."""

    interpreters: Interpreters = field(default_factory=lambda: Interpreters({}, Path(), {}))
    secrets: SecretFiles = field(default_factory=lambda: SecretFiles({}))
    environments: Environments = field(
        default_factory=lambda: Environments(Path(), EnvironmentSettings(), Path(), {})
    )
    own: Interpreter = field(default_factory=_own)

    def base(self, python: str) -> Interpreter:
        """Return the interpreter of that name, or the agent's own; raises NotOffered."""
        return self.interpreters.find(python) if python else self.own

    def interpreter(self, python: str, requirements: str) -> Interpreter | None:
        """Return what a task runs in, None for the agent's own; raises NotOffered."""
        if requirements:
            return self.environments.find(self.base(python), requirements)
        return self.base(python) if python else None

    def look_if_due(self, now: int) -> bool:
        """Look when it is time; return whether something changed."""
        return self.interpreters.look_if_due(now) | self.secrets.look_if_due(now)

    @property
    def problems(self) -> tuple[str, ...]:
        return (*self.interpreters.problems, *self.secrets.problems)


def premises_of(
    settings: Settings,
    node_dir: Path,
    runtime: Path,
    env: Mapping[str, str],
    agent_env: Mapping[str, str],
) -> Premises:
    """Look for the first time at what the settings name; `env` is that of tasks."""
    paths = {name: each.path for name, each in settings.pythons.items()}
    start = runtime / "start" / "worker.py"
    found = Premises(
        Interpreters(paths, start, env),
        SecretFiles(settings.secrets, _credentials(agent_env)),
        Environments(
            node_dir / "environments", settings.environments, start, installer_env(env, agent_env)
        ),
    )
    found.interpreters.check_all()
    found.look_if_due(0)
    return found


def _credentials(env: Mapping[str, str]) -> Path | None:
    """Return where systemd put the credentials of this service."""
    folder = env.get(CREDENTIALS_VARIABLE)
    return Path(folder) if folder else None
