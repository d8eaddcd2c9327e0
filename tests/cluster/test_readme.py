"""The README's Python example and a script that forgot its guard, run as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path

from .harness import Cluster

ROOT = Path(__file__).resolve().parents[2]
END_S = 90


def _run(shared: Cluster, script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script],
        env={"REMUDA_HOME": str(shared.home.root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )


def test_the_example_of_the_readme_runs_as_printed(shared: Cluster, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(blocks[0])
    done = _run(shared, script)
    lines = done.stdout.splitlines()
    assert ("", "42") == (done.stderr, lines[0])
    assert "[1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880]" == lines[1]
    assert 3 == len(lines)


def test_a_script_without_a_guard_is_told_so_and_submits_nothing_twice(
    shared: Cluster, tmp_path: Path
) -> None:
    script = tmp_path / "unguarded.py"
    marks = tmp_path / "marks"
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
