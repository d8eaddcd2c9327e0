"""Draw the diagrams of docs/diagrams from the code.

.venv/bin/python docs/generate.py            write them
.venv/bin/python docs/generate.py --check    say which are stale, exit 1 if any is
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

from remuda.node import task as node_task
from remuda.protocol.messages import Phase
from remuda.scheduler import task as scheduler_task

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "diagrams"
PACKAGES = ("cli", "client", "scheduler", "node", "worker", "config", "protocol")
NOTE = "<!-- Written by docs/generate.py: change the code, then run `make docs`. -->\n"


def main() -> None:
    """Write the diagrams, or only compare them."""
    pages = {"task.md": task_page(), "attempt.md": attempt_page(), "layout.md": layout_page()}
    stale = [name for name, text in pages.items() if on_disk(name) != text]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"stale in docs/diagrams: {', '.join(stale)}; run `make docs`")
        return
    FOLDER.mkdir(exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(pages[name], encoding="utf-8")
        sys.stdout.write(f"wrote docs/diagrams/{name}\n")


def on_disk(name: str) -> str:
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def task_page() -> str:
    """Return the life of a task as the scheduler's table has it."""
    states, facts = scheduler_task.State, scheduler_task.Fact
    terminal = sorted(scheduler_task.TERMINAL)
    arrows: dict[tuple[Enum, Enum], list[str]] = {}
    for (source, fact), target in scheduler_task.TRANSITIONS.items():
        arrows.setdefault((source, target), []).append(fact.name)
    meanings = "\n".join(f"| `{fact.name}` | {fact.value} |" for fact in facts)
    return (
        f"{NOTE}# How a task moves\n\n"
        "From `TRANSITIONS` in `scheduler/task.py`. A terminal state never changes.\n\n"
        f"{state_diagram(arrows, states.QUEUED, terminal)}\n"
        f"| fact | meaning |\n|---|---|\n{meanings}\n"
    )


def attempt_page() -> str:
    """Return the life of an attempt as the node's table has it."""
    arrows: dict[tuple[Enum, Enum], list[str]] = {
        (phase, target): []
        for phase, targets in node_task.TRANSITIONS.items()
        for target in targets
    }
    return (
        f"{NOTE}# How an attempt moves on its node\n\n"
        "From `TRANSITIONS` in `node/task.py`. "
        "An attempt is gone once the scheduler acknowledged its end.\n\n"
        f"{state_diagram(arrows, Phase.QUEUED, [Phase.ENDED])}"
    )


def state_diagram(
    arrows: Mapping[tuple[Enum, Enum], list[str]], first: Enum, last: Iterable[Enum]
) -> str:
    """Draw arrows between states, with what moves along each."""
    body = [f"[*] --> {first.name}"]
    for (source, target), labels in arrows.items():
        label = f": {', '.join(labels)}" if labels else ""
        body.append(f"{source.name} --> {target.name}{label}")
    body += [f"{state.name} --> [*]" for state in last]
    lines = "".join(f"    {line}\n" for line in body)
    return f"```mermaid\nstateDiagram-v2\n{lines}```\n"


def layout_page() -> str:
    """Return which package imports which, and what each one is."""
    lines = [f"    {a} --> {b}" for a in PACKAGES for b in PACKAGES if b in imports_of(a)]
    graph = "```mermaid\nflowchart LR\n" + "\n".join(lines) + "\n```\n"
    rows = "\n".join(f"| `{name}/` | {first_sentence(name)} |" for name in PACKAGES)
    return (
        f"{NOTE}# Who imports whom\n\n"
        "Top-level folders are the sub-packages of `remuda`; imports run one way "
        "(`.importlinter` is the contract).\n\n"
        f"{graph}\n| folder | what it is |\n|---|---|\n{rows}\n"
    )


def first_sentence(package: str) -> str:
    text = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]


def imports_of(package: str) -> set[str]:
    """Return the packages that a package's files import relatively."""
    found: set[str] = set()
    for path in (ROOT / package).rglob("*.py"):
        depth = len(path.relative_to(ROOT).parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == depth:
                module = node.module or ""
                names = [module] if module else [alias.name for alias in node.names]
                found.update(name.split(".")[0] for name in names)
    return found - {package}


if __name__ == "__main__":
    main()
