"""Do real shells complete commands and names of a cluster that runs?"""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .command_line import COMMAND, DEADLINE_S, CommandLine, stop

pytestmark = pytest.mark.cluster

TAB = b"\t"
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(remuda completion bash)"),
    "zsh": (
        ["zsh", "-f", "-i"],
        "autoload -Uz compinit && compinit -u -d $PWD/dump && source <(remuda completion zsh)",
    ),
    "fish": (["fish", "--no-config", "-i"], "remuda completion fish | source"),
}
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>][0-9A-B]?|\x1b\][^\x07]*\x07")


@pytest.fixture(scope="module")
def remuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Run one node, and put a `remuda` on the path that shells find."""
    made = CommandLine(tmp_path_factory.mktemp("shells"))
    process = made.cluster(1)
    programs = made.folder / "bin"
    programs.mkdir()
    program = programs / "remuda"
    program.write_text("#!/bin/sh\nexec " + " ".join(COMMAND) + ' "$@"\n')
    program.chmod(0o755)
    made.env |= {"PATH": f"{programs}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "$ "}
    yield made
    assert 0 == stop(process)


class Terminal:
    """A shell behind a pseudo terminal, typed at as by a person."""

    def __init__(self, argv: list[str], folder: Path, env: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        self._file = ours
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *argv], cwd=folder, env=env,
            stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        self._shown = b""

    def type(self, text: bytes) -> None:
        os.write(self._file, text)

    def wait_for(self, text: bytes) -> None:
        """Read until the text is shown; what was shown before does not count again."""
        ends = time.monotonic() + DEADLINE_S
        while text not in ESCAPES.sub(b"", self._shown):
            left_s = ends - time.monotonic()
            assert left_s > 0, f"{text!r} never came: {self._shown!r}"
            if select.select([self._file], [], [], min(left_s, 1.0))[0]:
                self._shown += os.read(self._file, 65_536)
        self._shown = b""

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._file)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, remuda: CommandLine) -> Iterator[Terminal]:
    """Start a shell that has learned to complete."""
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"no {name} on this host")
    argv, lesson = SHELLS[name]
    env = {**remuda.env, "HOME": str(remuda.folder)}
    made = Terminal(argv, remuda.folder, env)
    made.type(f"{lesson}; echo LEARN''ED\n".encode())
    made.wait_for(b"LEARNED")
    yield made
    made.close()


def test_a_shell_completes_a_verb_and_the_name_of_a_node(shell: Terminal) -> None:
    shell.type(b"remuda node undr" + TAB)
    shell.wait_for(b"undrain")
    shell.type(b"\x15remuda node show nod" + TAB)
    shell.wait_for(b"node-1")
