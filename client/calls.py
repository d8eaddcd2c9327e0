"""How are the arguments of a call and the words of a command checked and written?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..protocol.errors import Invalid, ValueTooLarge
from ..protocol.messages import VALUE_BYTES_MAX
from ..worker import values


def encode_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Encode the arguments of a call; raises ValueTooLarge or Invalid before anything is sent."""
    try:
        return values.encode_call(args, kwargs, bytes_max=VALUE_BYTES_MAX)
    except values.ValueTooLarge as error:
        raise ValueTooLarge(f"arguments: {error}", field="args") from error
    except values.NotEncodable as error:
        raise Invalid(f"arguments: {error}", field="args") from error


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
