"""Are the cores pure: the same inputs, the same trace, on every machine?"""

import ast
from pathlib import Path

from . import house

# What import contracts cannot say: names that hold chance, hash order or the outside world.
CALLS_FORBIDDEN = {"hash", "open", "print", "input", "__import__"}
RANDOM_ALLOWED = {"Random"}


def impurities(path: Path, tree: ast.Module) -> list[str]:
    finders = (forbidden_call, module_random, loop_over_a_set)
    return [
        f"{house.place(path, node)} {text}"
        for node in ast.walk(tree)
        for finder in finders
        if (text := finder(node))
    ]


def forbidden_call(node: ast.AST) -> str:
    if isinstance(node, ast.Call) and house.dotted(node.func) in CALLS_FORBIDDEN:
        return f"calls {house.dotted(node.func)}()"
    return ""


def module_random(node: ast.AST) -> str:
    """Find the global generator: only a `random.Random` that is handed in may be used."""
    if isinstance(node, ast.ImportFrom) and node.module == "random":
        names = {alias.name for alias in node.names} - RANDOM_ALLOWED
        return f"imports {sorted(names)} from random" if names else ""
    if isinstance(node, ast.Attribute) and house.dotted(node.value) == "random":
        return "" if node.attr in RANDOM_ALLOWED else f"uses random.{node.attr}"
    return ""


def loop_over_a_set(node: ast.AST) -> str:
    """Find loops whose order depends on hashes; `sorted(...)` of a set is fine."""
    if not isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        return ""
    source = node.iter
    if isinstance(source, ast.Call) and house.dotted(source.func) in {"list", "tuple", "iter"}:
        source = source.args[0] if source.args else source
    is_set = isinstance(source, (ast.Set, ast.SetComp)) or (
        isinstance(source, ast.Call) and house.dotted(source.func) in {"set", "frozenset"}
    )
    return "iterates over a set" if is_set else ""


def test_the_pure_modules_hold_no_chance_no_hash_order_and_no_world() -> None:
    found = [
        text for path in house.pure_modules() for text in impurities(path, house.tree_of(path))
    ]
    assert [] == found


def test_every_module_of_the_pure_list_exists() -> None:
    modules = house.pure_modules()
    missing = [str(path) for path in modules if not (house.ROOT / path).is_file()]
    assert [] == missing
    assert modules, "the contract `pure` in .importlinter is empty"


def test_a_pure_module_imports_only_modules_of_the_pure_list() -> None:
    pure = house.pure_modules()
    strays = {
        f"{path} imports {other}"
        for path in pure
        if (house.ROOT / path).is_file()
        for other in house.ours_imported(path) - set(pure)
    }
    assert set() == strays, (
        "list them in the contract `pure` of .importlinter, or do not import them"
    )


def test_each_kind_of_impurity_is_found() -> None:
    lines = (
        "import random",
        "from random import choice",
        "random.shuffle(x)",
        "hash(x)",
        "open(x)",
        "for a in {1, 2}: pass",
        "[a for a in list(set(x))]",
    )
    found = impurities(Path("x.py"), ast.parse("\n".join(lines)))
    assert [f"x.py:{line}" for line in range(2, 8)] == sorted(text.split()[0] for text in found)


def test_a_generator_handed_in_and_a_sorted_set_are_pure() -> None:
    source = "import random\ndef f(r: random.Random, s):\n    for a in sorted(set(s)): r.random()\n"
    assert [] == impurities(Path("x.py"), ast.parse(source))
