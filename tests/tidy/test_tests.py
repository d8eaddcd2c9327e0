"""Can every test fail, and does its name say what it shows?"""

import ast
from pathlib import Path

from . import house

CHECKING_NAMES = ("assert_", "check_", "wait_")
NAME_WORDS_MIN = 3


def is_test(node: ast.AST) -> bool:
    is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    return is_function and node.name.startswith("test_")


def can_fail(test: ast.AST) -> bool:
    """Tell whether a test holds an assertion, itself or by a call whose name promises one."""
    for node in ast.walk(test):
        if isinstance(node, (ast.Assert, ast.Raise)):
            return True
        if isinstance(node, ast.Call):
            name = house.dotted(node.func) or getattr(node.func, "attr", "")
            last = name.split(".")[-1]
            if name in {"pytest.raises", "pytest.fail", "pytest.warns"}:
                return True
            if last.startswith(CHECKING_NAMES) or last == "run_state_machine_as_test":
                return True
    return False


def toothless(path: Path, tree: ast.Module) -> list[str]:
    return [
        f"{house.place(path, node)} {getattr(node, 'name', '')}"
        for node in ast.walk(tree)
        if is_test(node) and not can_fail(node)
    ]


def test_every_test_can_fail() -> None:
    files = house.python_files("tests")
    assert [] == [text for path in files for text in toothless(path, house.tree_of(path))]


def test_every_name_of_a_test_is_a_sentence() -> None:
    short = [
        f"{house.place(path, node)} {node.name}"
        for path in house.python_files("tests")
        for node in house.functions(path)
        if is_test(node) and len(node.name.split("_")) <= NAME_WORDS_MIN
    ]
    assert [] == short


def test_a_test_without_an_assertion_is_found() -> None:
    source = (
        "def test_a(): f()\ndef test_b(): assert_b()\ndef test_c():\n    with pytest.raises(E): f()"
    )
    assert ["x.py:1 test_a"] == toothless(Path("x.py"), ast.parse(source))
