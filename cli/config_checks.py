"""What is wrong with the configuration on this host, judged without a scheduler?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..config.home import ETC, HOME_VARIABLE, default_home
from ..config.layers import Layer, Leaves
from ..config.load import combined
from ..config.problems import ConfigError
from ..config.sources import Sources


def problems_of(
    home: Path | None, files: Sequence[Path] | None, profile: str, etc: Path = ETC
) -> tuple[list[str], list[str]]:
    """Return every mistake, and the files that were read; `files` stand in for the home's."""
    root = home or Path(os.environ.get(HOME_VARIABLE) or default_home())
    chosen = list(files or sorted(root.glob("*.toml")))
    sources = Sources(root, profile=profile, etc=etc, home_files=chosen)
    broken = [problem for path in chosen for problem in _broken(path)]
    read = [str(path) for path in (*sorted(etc.glob("*.toml")), *chosen)]
    if broken:
        return broken, read
    try:
        combined(sources.read())
    except ConfigError as error:
        return list(error.problems), read
    return [], read


def _broken(path: Path) -> list[str]:
    """Return what keeps one file from being read: each file is looked at, not only the first."""
    leaves = Leaves()
    try:
        leaves.add_file(path, Layer.HOME)
    except ConfigError as error:
        return list(error.problems)
    return leaves.problems
