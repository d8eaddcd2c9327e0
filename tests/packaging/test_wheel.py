"""Does the built wheel work outside the tree?"""

import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUPTOOLS_MIN = 77
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
IMPORT_ALL = f"""
import importlib, pathlib
for name in {PACKAGES}:
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to({{home!r}}), module.__file__
"""


def setuptools_major() -> int:
    try:
        return int(metadata.version("setuptools").split(".")[0])
    except metadata.PackageNotFoundError:
        return 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if setuptools_major() < SETUPTOOLS_MIN:
        pytest.skip(f"no setuptools >= {SETUPTOOLS_MIN} here (set up without a network)")
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    patterns = [".git", *(pattern.strip("/") for pattern in ignored)]
    source = tmp_path_factory.mktemp("source") / "remuda"
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(*patterns))
    out = tmp_path_factory.mktemp("wheel")
    options = [
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        str(out),
    ]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    (built,) = out.glob("remuda-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh environment with the wheel, which borrows the dependencies of this one."""
    home = tmp_path_factory.mktemp("home") / "venv"
    venv.create(home, symlinks=True, with_pip=False)
    python = home / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        *options,
        str(wheel),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    lib = next((home / "lib").glob("python*/site-packages"))
    # A .pth line only extends sys.path: .pth files found there (our editable install) stay unread.
    borrowed = [folder for folder in sys.path if folder.endswith("-packages")]
    (lib / "dependencies.pth").write_text("\n".join(borrowed), encoding="utf-8")
    return home


def run_outside(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def test_the_wheel_carries_the_data_files_of_the_package(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    expected = {
        "remuda/py.typed",
        "remuda/scheduler/schema.sql",
        "remuda/store/schema.sql",
        "remuda/config/defaults.toml",
        "remuda/systemd/remuda-run-as@.service",
        "remuda/systemd/remuda-run-as.socket",
    }
    assert set() == expected - names


def test_the_wheel_puts_nothing_but_remuda_into_site_packages(wheel: Path) -> None:
    tops = {name.split("/")[0].split("-")[0] for name in ZipFile(wheel).namelist()}
    assert {"remuda"} == tops


def test_every_subpackage_imports_from_the_wheel(installed: Path) -> None:
    python = str(installed / "bin" / "python")
    done = run_outside(python, "-c", IMPORT_ALL.format(home=str(installed)))
    assert (0, "") == (done.returncode, done.stderr)


def test_the_command_of_the_wheel_tells_its_version(installed: Path) -> None:
    done = run_outside(str(installed / "bin" / "remuda"), "--version")
    assert 0 == done.returncode, done.stderr
    assert PROJECT["project"]["version"] in done.stdout
