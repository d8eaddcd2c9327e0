"""Does the page about the configuration say what the models say?"""

import subprocess
import sys

from remuda.config.applying import ADMIN_KEYS, ADMIN_TABLES

from . import house


def test_the_page_about_the_configuration_is_not_stale() -> None:
    command = [sys.executable, str(house.ROOT / "docs" / "generate_configuration.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_the_page_about_changes_names_all_that_only_admins_change() -> None:
    page = (house.ROOT / "docs" / "changing.md").read_text(encoding="utf-8")
    closed = [f"`[{table}]`" for table in ADMIN_TABLES] + [f"`{key}`" for key in ADMIN_KEYS]
    assert [] == [each for each in closed if each not in page]
