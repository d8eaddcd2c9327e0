"""What did the user type for what the Python client or the wire calls by another name?"""

from __future__ import annotations

import re

from ..protocol.errors import RemudaError

OTHERS = {
    "files": "file",
    "outputs": "output",
    "labels": "node_label",
    "nodes": "node",
    "secrets": "secret",
    "tags": "tag",
    "resources": "resource",
    "not_nodes": "not_node",
    "alternatives": "or",
    "learn_as": "kind",
    "argv": "command",
}
ARGUMENTS = frozenset({"command", "target", "args"})
"""What is typed without a name."""
_SPEC = re.compile(r"specs\[\d+\]\.")
_UNIT = re.compile(r"_(bytes|milli|ms)$")


def option_of(field: str) -> str:
    """Return the option of a task that a field stands for, without dashes before it."""
    name = _UNIT.sub("", _SPEC.sub("", field))
    return OTHERS.get(name, name).replace("_", "-")


def as_typed(error: RemudaError, dashes: str = "--") -> str:
    """Write an error about an option of a task with the name that was typed."""
    text, name = str(error), error.field
    if not name or not text.startswith(f"{name}:"):
        return text
    option = option_of(name)
    return f"{'' if option in ARGUMENTS else dashes}{option}{text.removeprefix(name)}"
