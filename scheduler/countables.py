"""Has a node the countable things that a task asks for by name, and how many of them are free?"""

from __future__ import annotations

from ..protocol.resources import Request
from .fleet import Node


def lacks(node: Node, request: Request) -> str:
    """Return which of the things asked for a node has too few of at its best, or nothing."""
    for name, wanted in request.resources:
        has = node.capabilities.resources.get(name, 0)
        if has < wanted:
            known = ", ".join(sorted(node.capabilities.resources)) or "none"
            what = f"has {has} {name}" if has else f"has no {name} (countable there: {known})"
            return f"{what}, wanted {wanted}"
    return ""


def lacks_now(node: Node, request: Request) -> str:
    """Return which of the things asked for are lent but for too few, or nothing."""
    for name, wanted in request.resources:
        free = node.capabilities.resources.get(name, 0) - node.resources_used[name]
        if free < wanted:
            return f"{max(free, 0)} {name} free, wanted {wanted}"
    return ""
