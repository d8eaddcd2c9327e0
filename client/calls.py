"""Which words does a command have?"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..protocol.errors import Invalid


def words_of(argv: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the words of a command; raises Invalid."""
    if isinstance(argv, (str, bytes)) or not argv:
        raise Invalid(
            f"argv: found {argv!r}; a command is a list of words, like ['sh', '-c', '...']",
            field="argv",
        )
    words = [os.fspath(word) for word in argv]
    for word in words:
        if not isinstance(word, str):
            raise Invalid(f"argv: found {word!r}, each word is text", field="argv")
    return words
