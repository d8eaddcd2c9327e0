"""Is a script being imported again on a node? Then its top level must not submit."""

from __future__ import annotations

import sys

from ..protocol.errors import Invalid

IMPORTED_AGAIN = "__mp_main__"


def refuse_while_imported_again() -> None:
    """Raise Invalid below the top level of a script that a worker imports for its functions.

    Workers import a script as `multiprocessing` does in its spawned children, so whatever stands
    outside `if __name__ == "__main__":` runs there as well: it would submit its tasks again.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == IMPORTED_AGAIN:
            raise Invalid(
                "this script submits while a node imports it for one of its functions: put the "
                'part that opens the Client under `if __name__ == "__main__":`'
            )
        if frame.f_back is None:
            return
        frame = frame.f_back
