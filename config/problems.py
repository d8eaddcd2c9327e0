"""What is wrong with a configuration, said so that it can be repaired: where, which key, what."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol.errors import Invalid

PROBLEMS_MAX = 50


class ConfigError(Invalid):
    """The configuration is invalid; `problems` has every finding, the message the first one."""

    code = "config_invalid"

    def __init__(self, problems: Sequence[str], *, field: str = "") -> None:
        self.problems = tuple(problems[:PROBLEMS_MAX])
        more = len(problems) - 1
        super().__init__(
            self.problems[0] + (f" (and {more} more)" if more else ""),
            field=field,
        )
