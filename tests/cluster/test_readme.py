"""Do the examples of README and docs run as printed; is a script without a guard told?"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import Cluster

ROOT = Path(__file__).resolve().parents[2]
END_S = 90


def blocks_of(page: Path) -> list[str]:
    """Return the Python examples of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def _run(shared: Cluster, script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script],
        env={"REMUDA_HOME": str(shared.home.root), "PATH": "/usr/bin:/bin"},
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )


def test_the_example_of_the_readme_runs_as_printed(shared: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(blocks_of(ROOT / "README.md")[0])
    done = _run(shared, script)
    lines = done.stdout.splitlines()
    assert ("", "42") == (done.stderr, lines[0])
    assert "[1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880]" == lines[1]
    assert ("20584", 4) == (lines[2], len(lines))


def test_the_example_of_the_page_on_files_runs_as_printed(shared: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(blocks_of(ROOT / "docs" / "files.md")[0])
    done = _run(shared, script)
    expected = ["['size.txt'] True", "['size.txt']", "1000000", "1000000"]
    assert ("", expected) == (done.stderr, done.stdout.splitlines())


def test_a_script_without_a_guard_is_told_so_and_submits_nothing_twice(
    shared: Cluster, tmp_path: Path, common: Path
) -> None:
    script = tmp_path / "unguarded.py"
    marks = common / "marks"
    script.write_text(
        "from remuda import Client\n\n"
        "def times(number):\n    return number * 6\n\n"
        "with Client() as cluster:\n"
        f"    cluster.run(['sh', '-c', 'echo once >> {marks}'])\n"
        "    print(cluster.call(times, 7))\n"
    )
    done = _run(shared, script)
    assert 'if __name__ == "__main__":' in done.stderr
    assert "once\n" == marks.read_text()


SAID = [
    ["[2.0, 3.0, 4.0]", "exception True", "3 said", "task.succeeded", "3"],
    ["5.0", "[1, 1, 2, 6]", "still False True"],
]


@pytest.mark.parametrize("number", range(len(SAID)))
def test_each_example_of_the_python_page_runs_as_printed(
    shared: Cluster, tmp_path: Path, number: int
) -> None:
    blocks = blocks_of(ROOT / "docs" / "python.md")
    assert len(SAID) == len(blocks)
    script = tmp_path / "example.py"
    script.write_text(blocks[number])
    done = _run(shared, script)
    assert ("", SAID[number]) == (done.stderr, done.stdout.splitlines())


def test_the_example_of_endless_streams_runs_as_printed(shared: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(blocks_of(ROOT / "docs" / "many.md")[0])
    done = _run(shared, script)
    first, *others = done.stdout.splitlines()
    assert ("", "31", {"float", "TaskFailed"}) == (done.stderr, first, set(others))
