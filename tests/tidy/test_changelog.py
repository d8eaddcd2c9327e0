"""Will the fragments of the changelog make a release?"""

import subprocess
import sys

from . import house


def changelog() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(house.ROOT / "bin" / "changelog")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_fragment_has_a_name_that_the_assembler_accepts() -> None:
    done = changelog()
    assert (0, "") == (done.returncode, done.stderr)


def test_every_fragment_reaches_the_assembled_section() -> None:
    fragments = [p for p in (house.ROOT / "changelog.d").glob("*.md") if p.name != "README.md"]
    section = changelog().stdout
    missing = [
        p.name for p in fragments if p.read_text(encoding="utf-8").split("\n")[0] not in section
    ]
    assert [] == missing


def test_a_fragment_of_several_items_is_no_list_within_an_item() -> None:
    doubled = [line for line in changelog().stdout.splitlines() if line.startswith("- - ")]
    assert [] == doubled


def test_the_changelog_has_the_line_below_which_releases_go() -> None:
    text = (house.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert 1 == text.count("<!-- bin/changelog puts the next release below this line -->")
