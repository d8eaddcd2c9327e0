"""Are the nodes of cluster tests hosts of their own, but for those that CONTRIBUTING lists?"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from . import house

ENTRY = re.compile(r"^- ((?:`test_\w+\.py(?:::test_\w+)?`(?:, )?)+): \S", re.MULTILINE)
NAME = re.compile(r"`(test_\w+\.py)(?:::(test_\w+))?`")
# What brings nodes up on this host itself: names that are called, and files that start daemons.
NEAR_NAMES = {"LocalCluster", "LightFleet", "Host"}
NEAR_MODULES = {"remuda", "client.local", "light_agents", "newcomers"}
NEAR_FILES = {"quickstart.py", "systemd"}

Place = tuple[str, str]  # a file, and the test in it; no test: the whole file


def listed() -> set[Place]:
    """Return what CONTRIBUTING excepts."""
    text = (house.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return {place for entry in ENTRY.findall(text) for place in NAME.findall(entry)}


def brings_up_near(node: ast.AST, near: set[str]) -> bool:
    """Tell whether a node of the tree starts agents that are no hosts of their own."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value in NEAR_FILES
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Name) and node.func.id in near:
        return True
    if isinstance(node.func, ast.Attribute) and node.func.attr == "up":
        return ast.unparse(node.func.value) != "far()"
    first = node.args[0] if node.args else None
    return isinstance(first, ast.Constant) and first.value == "up"


def near_places(path: Path, tree: ast.Module) -> Iterator[Place]:
    """Yield where a file brings up nodes that are no hosts of their own."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules = [node for node in imports if (node.module or "").endswith(tuple(NEAR_MODULES))]
    near = {name.name for node in modules for name in node.names} & NEAR_NAMES
    for statement in tree.body:
        is_test = isinstance(statement, ast.FunctionDef) and statement.name.startswith("test_")
        if any(brings_up_near(node, near) for node in ast.walk(statement)):
            yield path.name, getattr(statement, "name", "") if is_test else ""


def found() -> set[Place]:
    files = sorted((house.ROOT / "tests" / "cluster").glob("test_*.py"))
    return {place for path in files for place in near_places(path, house.tree_of(path))}


def test_nodes_on_this_host_itself_are_in_the_list_of_contributing() -> None:
    known = listed()
    missing = [
        f"{name}{'::' if test else ''}{test}"
        for name, test in sorted(found())
        if (name, test) not in known and (name, "") not in known
    ]
    assert [] == missing, "use far nodes (tests/cluster/far.py), or list it and say why"


def test_the_list_of_contributing_names_nothing_that_is_gone() -> None:
    places = found()
    files = {name for name, _ in places}
    stale = [
        f"{name} {test}".rstrip()
        for name, test in sorted(listed())
        if ((name, test) not in places if test else name not in files)
    ]
    assert [] == stale


def test_what_brings_up_nodes_on_this_host_is_found() -> None:
    source = (
        "from remuda import LocalCluster\n"
        "def test_a():\n    with LocalCluster(1): pass\n"
        "def test_b(remuda):\n    remuda.up('--nodes', '2')\n"
        "def test_c(remuda):\n    remuda.start('up')\n"
        "def test_d(home):\n    far().up(home)\n"
        "def test_e(remuda):\n    remuda.cluster(2)\n"
        "def helper(): LocalCluster(2)\n"
    )
    places = list(near_places(Path("x.py"), ast.parse(source)))
    assert [("x.py", "test_a"), ("x.py", "test_b"), ("x.py", "test_c"), ("x.py", "")] == places
