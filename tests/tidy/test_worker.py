"""Does the worker's code run on the oldest Python that it promises?"""

import ast
from pathlib import Path

import pytest

from . import house

OLDEST = (3, 9)
# Standard library additions after 3.9 that parse there and fail when imported or called.
NEWER_NAMES = {"datetime.UTC", "enum.StrEnum", "itertools.batched", "itertools.pairwise"}
NEWER_ARGUMENTS = {"slots", "kw_only"}


def too_new(path: Path, source: str) -> list[str]:
    try:
        tree = ast.parse(source, feature_version=OLDEST)
    except SyntaxError as error:
        return [f"{path}:{error.lineno} {error.msg}"]
    found = [f"{house.place(path, node)} {text}" for node in ast.walk(tree) for text in newer(node)]
    if "|" in source and "annotations" not in future_imports(tree):
        found += [f"{path}:1 lacks `from __future__ import annotations`"] * bool(union_types(tree))
    return found


def newer(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute) and house.dotted(node) in NEWER_NAMES:
        return [house.dotted(node)]
    if isinstance(node, ast.ImportFrom):
        names = {f"{node.module}.{alias.name}" for alias in node.names}
        return sorted(names & NEWER_NAMES)
    if isinstance(node, ast.Call) and house.dotted(node.func) in {
        "dataclass",
        "dataclasses.dataclass",
    }:
        return sorted(k.arg for k in node.keywords if k.arg in NEWER_ARGUMENTS)
    if isinstance(node, ast.Call) and house.dotted(node.func) == "zip":
        return ["zip(strict=...)" for k in node.keywords if k.arg == "strict"]
    return []


def future_imports(tree: ast.Module) -> set[str]:
    nodes = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    return {alias.name for node in nodes for alias in node.names}


def union_types(tree: ast.Module) -> list[ast.AST]:
    """Return the annotations that use `X | Y`."""
    held = [getattr(n, "annotation", None) or getattr(n, "returns", None) for n in ast.walk(tree)]
    parts = [part for annotation in held if annotation for part in ast.walk(annotation)]
    return [
        part for part in parts if isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitOr)
    ]


@pytest.mark.parametrize("path", house.python_files("worker"), ids=str)
def test_the_worker_keeps_to_python_3_9(path: Path) -> None:
    assert [] == too_new(path, (house.ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "match x:\n    case 1: pass",
        "from datetime import UTC",
        "@dataclass(slots=True)\nclass A: ...",
        "def f(x: int | None): ...",
        "zip(a, b, strict=True)",
    ],
)
def test_what_is_newer_is_found(source: str) -> None:
    assert 1 == len(too_new(Path("x.py"), source))
