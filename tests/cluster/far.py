"""How are the nodes of tests hosts that share nothing with their client?

A node's agent starts in `/`, with another HOME, in another virtual environment with a copy of
remuda, and in an environment of its own. Where the kernel allows it, also with an address of its
own and in a mount namespace in which our tree and the test's folders are not: of the cluster's home
it has its own state and copies of its key and configuration. What test and nodes both look at lies
in `common`. One pair of hosts serves all clusters of a test session, and single agents.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from remuda.config.home import Home

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "fakes"  # what tasks and agents of a test load: every host has it
UP = Path(__file__).with_name("far_up.py")
NODES = ("node-1", "node-2")
FOLDER = "remuda-far-"


def load_hosts() -> ModuleType:
    """Load the example that makes hosts out of namespaces."""
    name = "hosts"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples/photos/hosts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


hosts = load_hosts()


class FarHosts:
    """The hosts of a test session, made when the first cluster needs them."""

    def __init__(self, hidden: Path) -> None:
        self._hidden = hidden
        self._stack = ExitStack()
        prefix = f"{FOLDER}{hosts.mark()}-"
        place = self._stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix))
        self.folder = Path(place)
        self._site: Any = None
        self._is_made = False
        self._clusters = 0
        self.common = self.folder / "common"
        programs = self.common / "bin"  # first on the PATH of tasks, for hosts without a Python
        programs.mkdir(parents=True)
        (programs / "python3").symlink_to(Path(sys.executable).resolve())
        self._path = f"{programs}:{hosts.PATH}"

    def common_folder(self, name: str) -> Path:
        """Make a folder that the nodes see where the test sees it."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.common))

    def environment(self, node: str) -> Path:
        """Return the virtual environment that a node has of its own."""
        return self.folder / "hosts" / node / "venv"

    def up(self, home: Home, seen: tuple[Path, ...] = ()) -> tuple[list[str], dict[str, str]]:
        """Return the command of an `up` with nodes far away, and the environment that it needs.

        `seen` are more folders that the nodes see.
        """
        description = self.description(home, seen)
        path = self.folder / f"cluster-{self._clusters}.json"
        path.write_text(json.dumps(description))
        env = {"PATH": self._path}
        if self._site is not None:
            env["REMUDA_SCHEDULER__LISTEN"] = self._site.address
        return [sys.executable, "-P", str(UP), str(path), "up"], env

    def description(self, home: Home, seen: tuple[Path, ...] = ()) -> dict[str, dict[str, object]]:
        """Describe how the agents of a new cluster start, as `far_up.moved` takes it."""
        self._make()
        self._clusters += 1
        places = {name: self.folder / name / str(self._clusters) for name in NODES}
        return {name: self._node(home, name, place, seen) for name, place in places.items()}

    @property
    def address(self) -> str:
        """Return the address of this machine that the hosts reach."""
        self._make()
        return "127.0.0.1" if self._site is None else str(self._site.address)

    def python(
        self,
        name: str,
        settings: Mapping[str, str],
        seen: Sequence[Path] = (),
        before: Sequence[str] = (),
    ) -> list[str]:
        """Return the words that start an interpreter on a host, in `/`, with these settings.

        `seen` are folders that stand for the host's own disk, at the same place; `before` are words
        of the host before those of the interpreter.
        """
        self._make()
        words = [*before, *self._clean(name), *(f"{key}={text}" for key, text in settings.items())]
        words.append(str(self.environment(name) / "bin" / "python"))
        return self._inside(name, words, [(each, each) for each in seen])

    def close(self) -> None:
        self._stack.close()

    def _make(self) -> None:
        if self._is_made:
            return
        self._is_made = True
        try:
            made = hosts.site(self.folder / "hosts", NODES, [ROOT, self._hidden])
            self._site = self._stack.enter_context(made)
        except hosts.HostsError:  # see why_near
            shutil.rmtree(self.folder / "hosts", ignore_errors=True)
            for name in NODES:
                libraries = Path(sysconfig.get_path("purelib"))
                hosts.furnish(self.folder / "hosts" / name, libraries)

    def _node(
        self, home: Home, name: str, place: Path, seen: tuple[Path, ...]
    ) -> dict[str, object]:
        """Describe how the agent of one node starts; `place` is what its host keeps of the home."""
        python = str(self.environment(name) / "bin" / "python")
        words = self._clean(name)
        if self._site is None:
            return {"before": words, "python": python, "home": str(home.root)}
        state = home.node_dir(name)
        lent = [*((each, each) for each in seen), (place, home.root), (state, state)]
        before = self._inside(name, words, lent)
        return {"before": before, "python": python, "home": str(place), "makes": str(state)}

    def _clean(self, name: str) -> list[str]:
        """Return the words before a command that give it the environment of a host."""
        home = self.folder / "hosts" / name / "home"
        return ["env", "-i", f"PATH={self._path}", f"HOME={home}", "LANG=C.UTF-8"]

    def _inside(self, name: str, words: list[str], lent: Sequence[tuple[Path, Path]]) -> list[str]:
        if self._site is None:
            return words
        host = next(each for each in self._site.hosts if each.name == name)
        return list(host.inside(words, [(FAKES, FAKES), *lent]))


def why_near() -> str:
    """Say why nodes cannot be on hosts of their own here; nothing where they can."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with hosts.site(Path(folder), ["trial"], []):
                return ""
        except hosts.HostsError as error:
            return str(error)


_current: list[FarHosts] = []


def sweep() -> None:
    """Remove the folders of sessions that were killed; making hosts removes theirs."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        if hosts.is_gone(folder.name.removeprefix(FOLDER).rpartition("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)


def begin(hidden: Path) -> None:
    """Prepare the hosts of a test session, which do not see this folder."""
    sweep()
    _current.append(FarHosts(hidden))


def end() -> None:
    """Remove the hosts, and kill what runs there."""
    _current.pop().close()


def far() -> FarHosts:
    """Return the hosts of this test session."""
    return _current[-1]


def plain_environment() -> dict[str, str]:
    """Return our environment without settings of remuda."""
    return {key: text for key, text in os.environ.items() if not key.startswith("REMUDA_")}
