"""What does `remuda version` print?"""

from __future__ import annotations

import sys

from . import screen
from .commands import Session, command
from .versions import show, version


@command("version", example="remuda version --json")
def version_command(session: Session) -> None:
    """Print the version of remuda and of Python."""
    if session.json:
        screen.document({"remuda": version(), "python": sys.version.split()[0]})
    else:
        show()
