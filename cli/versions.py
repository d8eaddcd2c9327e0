"""Which version is this?"""

from __future__ import annotations

import sys


def version() -> str:
    """Return the version of the installed package."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("remuda")
    except PackageNotFoundError:
        return "unknown"  # a source tree that was not installed


def show() -> None:
    """Print the version."""
    sys.stdout.write(f"remuda {version()}\n")
