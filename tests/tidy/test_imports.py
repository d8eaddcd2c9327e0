"""Does the package import itself relatively, and keep clear of what executes strangers' bytes?"""

import ast
from collections.abc import Iterator
from pathlib import Path

from . import house

MODULES_FORBIDDEN = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
CALLS_FORBIDDEN = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "os.system"}
METHODS_FORBIDDEN = {"recv_pyobj", "send_pyobj"}
ARGUMENTS_FORBIDDEN = {"allow_pickle", "shell"}

# Files that an interpreter is given by path: outside a package there is no relative import.
STARTED_BY_PATH = {Path("node/runner/start.py"), Path("worker/start.py")}

# A function of a script's `__main__` travels as its source file, and is executed as Python would.
EXECUTES_SCRIPTS = {Path("worker/targets.py"): "exec"}


def imported(node: ast.AST) -> list[str]:
    """Return the absolute names an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    return []


def absolute_self_imports(path: Path, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        for name in imported(node):
            if name.split(".")[0] in {"remuda", *house.PACKAGES}:
                yield f"{house.place(path, node)} imports {name}: write it relatively"


def dangers(path: Path, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        for name in imported(node):
            if name.split(".")[0] in MODULES_FORBIDDEN:
                yield f"{house.place(path, node)} imports {name}"
        if isinstance(node, ast.Call):
            allowed = EXECUTES_SCRIPTS.get(path)
            found = (text for text in dangerous_call(node) if text != f"calls {allowed}")
            yield from (f"{house.place(path, node)} {text}" for text in found)


def dangerous_call(node: ast.Call) -> Iterator[str]:
    name = house.dotted(node.func)
    if name in CALLS_FORBIDDEN or name.split(".")[-1] in METHODS_FORBIDDEN:
        yield f"calls {name}"
    for keyword in node.keywords:
        on = not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        if keyword.arg in ARGUMENTS_FORBIDDEN and on:
            yield f"passes {keyword.arg}"


def test_the_package_imports_itself_relatively() -> None:
    files = [path for path in house.package_files() if path not in STARTED_BY_PATH]
    found = [text for path in files for text in absolute_self_imports(path, house.tree_of(path))]
    assert [] == found


def test_nothing_unpickles_evaluates_or_starts_a_shell() -> None:
    files = house.all_files()
    found = [text for path in files for text in dangers(path, house.tree_of(path))]
    assert [] == found


def test_each_danger_is_found() -> None:
    lines = (
        "import pickle",
        "from dill import loads",
        "socket.recv_pyobj()",
        "eval(x)",
        "yaml.load(x)",
        "np.load(x, allow_pickle=True)",
        "subprocess.run(x, shell=flag)",
        "np.load(x, allow_pickle=False)",
        "re.compile(x)",
    )
    found = list(dangers(Path("x.py"), ast.parse("\n".join(lines))))
    assert [f"x.py:{line}" for line in range(1, 8)] == sorted(text.split()[0] for text in found)


def test_an_absolute_import_of_a_sibling_is_found() -> None:
    tree = ast.parse(
        "from remuda.protocol import ids\nimport scheduler\nfrom ..protocol import ids\n"
    )
    assert 2 == len(list(absolute_self_imports(Path("x.py"), tree)))
