"""Do the diagrams show the code as it is?"""

import subprocess
import sys

from . import house


def test_no_diagram_is_stale() -> None:
    command = [sys.executable, str(house.ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
