"""How is the same done to several things that were named, one after the other?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from . import screen
from .commands import Session

if TYPE_CHECKING:
    from ..client.connection import Connection


def change_each(
    session: Session,
    link: Connection,
    names: Sequence[str],
    change: Callable[[str], str],
    *,
    key: str,
) -> None:
    """Change one after the other and say what was done; stops at the first refusal.

    What was done before it is said all the same. `key` is what a row of --json calls a name.
    """
    said: dict[str, str] = {}
    try:
        for name in names:
            said[name] = change(name)
            if not session.json:
                screen.line(name if session.quiet else f"{link.cluster}: {said[name]}")
    finally:
        if session.json:
            screen.document(
                [
                    {key: name, "cluster": link.cluster, "message": text}
                    for name, text in said.items()
                ]
            )
        sys.stdout.flush()
