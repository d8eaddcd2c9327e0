"""What the tidy tests look at: the project's own Python files, parsed once, and its few lists."""

import ast
import configparser
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "protocol",
    "config",
    "scheduler",
    "store",
    "transfer",
    "node",
    "worker",
    "client",
    "cli",
    "systemd",
)
OTHERS = ("tests", "benchmarks", "examples", "docs", "bin")


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below the folders, relative to the root, in order."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found if "__pycache__" not in path.parts)


def package_files() -> list[Path]:
    return [*python_files(*PACKAGES), Path("src/remuda/__init__.py")]


def all_files() -> list[Path]:
    return [*package_files(), *python_files(*OTHERS)]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def pure_modules() -> list[Path]:
    """Return the files of the contract `pure` in `.importlinter`, the one list of pure modules."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    files: list[Path] = []
    for name in contracts["importlinter:contract:pure"]["source_modules"].split():
        folder = name.removeprefix("remuda.").replace(".", "/")
        if folder.endswith("/**"):
            files += python_files(folder.removesuffix("/**"))
        elif (ROOT / folder).is_dir():
            files += python_files(folder)
        else:
            files.append(Path(folder + ".py"))
    return files


def place(path: Path, node: ast.AST) -> str:
    """Say where a finding is, as editors read it."""
    at = node.iter if isinstance(node, ast.comprehension) else node
    return f"{path}:{getattr(at, 'lineno', 1)}"


def ours_imported(path: Path) -> set[Path]:
    """Return the modules of the package that a file imports relatively."""
    found: set[Path] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            names = [folder, *(folder / alias.name for alias in node.names)]
            found |= {name.with_suffix(".py") for name in names}
    return {path for path in found if (ROOT / path).is_file()}


def functions(
    path: Path,
) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = ast.walk(tree_of(path))
    return [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a plain chain of names, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


if __name__ == "__main__":  # what bin/test measures: the pure modules of scheduler and node
    print(*(path for path in pure_modules() if path.parts[0] != "protocol"), sep=",")
