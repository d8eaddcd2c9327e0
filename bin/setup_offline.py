"""Let a virtual environment borrow the packages of the interpreter that made it: no network here.

    .venv/bin/python bin/setup_offline.py HOST_PYTHON [EXTRA ...]

Needs no build backend: `src/` is put on the path, and the console scripts are written as pip
writes them. Exits with 1 and the list of what is missing when the packages do not suffice.
"""

import importlib.metadata
import site
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(sysconfig.get_path("purelib"))
SCRIPTS = Path(sysconfig.get_path("scripts"))
SCRIPT = """#!{python}
import sys

from {module} import {function}

if __name__ == "__main__":
    sys.exit({function}())
"""


def borrow_packages(host: str) -> None:
    """Extend our path by the host's site-packages (now too), and by our own source."""
    code = "import sys; print(*(f for f in sys.path if f.endswith('-packages')), sep='\\n')"
    folders = subprocess.run([host, "-c", code], capture_output=True, text=True, check=True).stdout
    path_file = SITE / "remuda-offline.pth"
    path_file.write_text(f"{ROOT / 'src'}\n{folders}", encoding="utf-8")
    site.addsitedir(str(SITE))


def missing(requirements: list[str]) -> list[str]:
    """Return the requirements that no installed distribution meets."""
    return [text for text in requirements if not is_met(Requirement(text))]


def is_met(requirement: Requirement) -> bool:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return bool(requirement.specifier.contains(version, prereleases=True))


def write_distribution(project: dict[str, Any]) -> None:
    """Write scripts and metadata, with the RECORD by which a later pip can replace them."""
    written: list[Path] = [SITE / "remuda-offline.pth"]
    for name, target in project["scripts"].items():
        module, function = target.split(":")
        path = SCRIPTS / name
        path.write_text(SCRIPT.format(python=sys.executable, module=module, function=function))
        path.chmod(0o755)
        written.append(path)
    info = SITE / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    written += [info / "METADATA", info / "RECORD"]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in written), encoding="utf-8")


def main() -> None:
    """Install, or say what is missing and leave the environment as it was."""
    host, extras = sys.argv[1], sys.argv[2:]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    borrow_packages(host)
    lacking = missing([*project["dependencies"], *(text for e in extras for text in optional[e])])
    if lacking:
        (SITE / "remuda-offline.pth").unlink()
        sys.exit("missing: " + " ".join(sorted(set(lacking))))
    write_distribution(project)


if __name__ == "__main__":
    main()
