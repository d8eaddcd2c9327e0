"""Does the page about the configuration say what the models say?"""

import subprocess
import sys

from . import house


def test_the_page_about_the_configuration_is_not_stale() -> None:
    command = [sys.executable, str(house.ROOT / "docs" / "generate_configuration.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
