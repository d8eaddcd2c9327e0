"""What does this node offer around its tasks beside cards and CPUs: interpreters, secrets?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..config.settings import Settings
from .interpreters import Interpreters
from .secret_files import CREDENTIALS_VARIABLE, SecretFiles


@dataclass(slots=True)
class Premises:
    """Keep both up to date; empty: a node that offers neither."""

    interpreters: Interpreters = field(default_factory=lambda: Interpreters({}, Path(), {}))
    secrets: SecretFiles = field(default_factory=lambda: SecretFiles({}))

    def look_if_due(self, now: int) -> bool:
        """Look when it is time; return whether something changed."""
        return self.interpreters.look_if_due(now) | self.secrets.look_if_due(now)

    @property
    def problems(self) -> tuple[str, ...]:
        return (*self.interpreters.problems, *self.secrets.problems)


def premises_of(
    settings: Settings, runtime: Path, env: Mapping[str, str], agent_env: Mapping[str, str]
) -> Premises:
    """Look for the first time at what the settings name; `env` is that of the checks."""
    paths = {name: each.path for name, each in settings.pythons.items()}
    found = Premises(
        Interpreters(paths, runtime / "start" / "worker.py", env),
        SecretFiles(settings.secrets, _credentials(agent_env)),
    )
    found.interpreters.check_all()
    found.look_if_due(0)
    return found


def _credentials(env: Mapping[str, str]) -> Path | None:
    """Return where systemd put the credentials of this service."""
    folder = env.get(CREDENTIALS_VARIABLE)
    return Path(folder) if folder else None
