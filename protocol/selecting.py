"""Which nodes are meant by a line such as `gpu=a100, zone=b` or `n1, n2`?

Pure: names are alternatives, labels must all be there; a line has names or labels, not both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SELECTOR_CHARS_MAX = 4_096
_TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Selector:
    """Nodes by name, or by labels; an empty one means all nodes."""

    names: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def selects(self, name: str, labels: Mapping[str, str]) -> bool:
        """Tell whether a node is meant."""
        if self.names:
            return name in self.names
        return all(labels.get(key) == wanted for key, wanted in self.labels)

    def __str__(self) -> str:
        return ", ".join([*self.names, *(f"{key}={wanted}" for key, wanted in self.labels)])


def selector_of(text: str) -> Selector:
    """Read a selector; raise ValueError that says what is wrong with it."""
    if len(text) > SELECTOR_CHARS_MAX:
        raise ValueError(f"a selector has at most {SELECTOR_CHARS_MAX} characters")
    names, labels = [], []
    for term in filter(None, (part.strip() for part in text.split(","))):
        key, equals, wanted = (part.strip() for part in term.partition("="))
        if equals and key and wanted:
            labels.append((key, wanted))
        elif not equals and _TERM.fullmatch(term):
            names.append(term)
        else:
            raise ValueError(
                f"{term!r} is neither a node's name nor a label like gpu=a100; several are "
                "separated by commas"
            )
    if names and labels:
        raise ValueError(
            f"{text!r} has names and labels: give the names of nodes, or labels that they have"
        )
    return Selector(tuple(dict.fromkeys(names)), tuple(dict.fromkeys(labels)))
