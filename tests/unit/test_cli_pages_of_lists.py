"""Does a page of a whole list go on where the one before ended, and say how much is left?"""

from __future__ import annotations

import pytest

from remuda.cli.pages import page
from remuda.protocol.errors import NotFound

ROWS = ["a", "b c", "d"]


@pytest.mark.parametrize(
    ("limit", "cursor", "shown", "more"),
    [
        (2, "", ["a", "b c"], "2 of 3 shown; more: --cursor 'b c'"),
        (2, "b c", ["d"], ""),
        (3, "", ROWS, ""),
        (9, "d", [], ""),
    ],
)
def test_a_page_begins_after_its_cursor(
    limit: int, cursor: str, shown: list[str], more: str
) -> None:
    assert (shown, more) == page(ROWS, str, limit, cursor)


def test_a_cursor_that_is_gone_is_told_instead_of_beginning_anew() -> None:
    with pytest.raises(NotFound, match="--cursor x: that row is not there any more"):
        page(ROWS, str, 2, "x")
