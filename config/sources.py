"""Which layers does a process read, and where is room between them for what operators changed?"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .home import ETC, PROFILE_VARIABLE
from .layers import Layer, Leaves
from .problems import ConfigError

PACKAGE = Path(__file__).parent
DEFAULTS_FILE = PACKAGE / "defaults.toml"
PROFILES = "profiles"
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Read:
    """What the layers said when they were read: those weaker than changes, those stronger."""

    weak: Leaves
    strong: Leaves
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a process reads its configuration, as often as it is told to.

    `home` is the directory of the cluster, `files` are those named by `--config`, `options` are
    dotted keys with values (None: not given). Without a `profile` the environment may name one.
    `home_files` are read in place of what stands in the home.
    """

    home: Path | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    etc: Path = ETC
    files: Sequence[Path] = ()
    profile: str = ""
    home_files: Sequence[Path] | None = None

    def read(self) -> Read:
        """Read every layer; raises ConfigError."""
        weak, strong = Leaves(), Leaves()
        weak.add_file(DEFAULTS_FILE, Layer.DEFAULTS)
        weak.add_directory(self.etc, Layer.ETC)
        profile = self.profile or self.env.get(PROFILE_VARIABLE, "")
        if profile:
            add_profile(weak, profile, self.profile_folders())
        if self.home_files is not None:
            for path in self.home_files:
                weak.add_file(path, Layer.HOME)
        elif self.home is not None:
            weak.add_directory(self.home, Layer.HOME)
        for path in self.files:
            strong.add_file(path, Layer.FILE)
        strong.add_environment(self.env)
        strong.add_options(self.options)
        problems = [*weak.problems, *strong.problems]
        if problems:
            raise ConfigError(problems)
        return Read(weak, strong, profile)

    def profile_folders(self) -> list[Path]:
        """Return where profiles are looked for, weakest first."""
        return profile_folders(self.home, self.etc)


def profile_folders(home: Path | None, etc: Path) -> list[Path]:
    """Return where profiles are: packaged, of this host, of the home."""
    return [folder / PROFILES for folder in (PACKAGE, etc, home) if folder is not None]


def add_profile(leaves: Leaves, profile: str, folders: Sequence[Path]) -> None:
    """Read a profile from each folder that has it, one laid over the other.

    Raises ConfigError for one that is nowhere.
    """
    files = [folder / f"{profile}.toml" for folder in folders if _PROFILE.fullmatch(profile)]
    files = [path for path in files if path.is_file()]
    if not files:
        known = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
        raise ConfigError(
            [
                f"there is no profile {profile!r}: known are {', '.join(known)}; one of your own "
                f"is a file {folders[-1]}/NAME.toml"
            ]
        )
    for path in files:
        leaves.add_file(path, Layer.PROFILE)
