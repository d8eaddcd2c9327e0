"""Does bin/setup-venv make an environment without a network, and leave a finished one alone?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
NO_INDEX = "http://127.0.0.1:9/simple"


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a network and without the caller's settings of pip."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": NO_INDEX, **variables}
    return subprocess.run(
        [str(word) for word in command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tree, set up from the packages of this interpreter."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("pyproject.toml", "bin", "src", *PACKAGES):
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, clone / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, clone)
    done = run(clone / "bin" / "setup-venv", "demo", REMUDA_PYTHON=sys.executable)
    assert 0 == done.returncode, done.stderr
    return clone


def test_without_a_network_the_packages_at_hand_are_used(clone: Path) -> None:
    code = "import remuda, remuda.protocol.ids, zmq, cv2; print(remuda.__file__)"
    done = run(clone / ".venv" / "bin" / "python", "-c", code)
    assert (str(clone / "src" / "remuda" / "__init__.py"), "") == (done.stdout.strip(), done.stderr)


def test_a_program_beside_the_clone_imports_the_package_and_not_the_folder(tmp_path: Path) -> None:
    (tmp_path / "remuda").mkdir()  # what `git clone` makes; for Python a package without a file
    (tmp_path / "program.py").write_text("from remuda import Client; print(Client.__name__)")
    done = run(sys.executable, tmp_path / "program.py")
    assert ("Client", "") == (done.stdout.strip(), done.stderr)


def test_without_a_network_the_console_scripts_are_there(clone: Path) -> None:
    scripts = {path.name for path in (clone / ".venv" / "bin").iterdir()}
    assert {"remuda", "remuda-scheduler", "remuda-node", "remuda-store"} <= scripts


def test_a_second_run_does_nothing_and_says_nothing(clone: Path) -> None:
    done = run(clone / "bin" / "setup-venv", "demo")
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_an_interpreter_that_is_too_old_or_missing_is_named(clone: Path) -> None:
    done = run(clone / "bin" / "setup-venv", "dev", REMUDA_PYTHON="/nonexistent/python")
    assert 1 == done.returncode
    assert "REMUDA_PYTHON=/nonexistent/python is not a Python >= 3.11" in done.stderr
