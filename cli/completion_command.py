"""How does a shell learn to complete `remuda`?"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from .commands import Session, command

VARIABLE = "_REMUDA_COMPLETE"


class Shell(StrEnum):
    """The shells that can be taught."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@command(
    "completion",
    example=(
        "source <(remuda completion bash)              # bash: into ~/.bashrc to keep it\n"
        "remuda completion zsh > ~/.zfunc/_remuda      # zsh: a directory of its fpath\n"
        "remuda completion fish > ~/.config/fish/completions/remuda.fish"
    ),
    which="Names of nodes, tasks, GPUs and handlers come from the cluster that is meant.",
)
def completion(
    session: Session,
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print what a shell needs to complete commands, options, and names of the cluster."""
    from typer._completion_shared import get_completion_script  # what its own option prints

    wanted = {"prog_name": "remuda", "complete_var": VARIABLE, "shell": str(shell)}
    script = get_completion_script(**wanted)
    sys.stdout.write(f"{script.strip()}\n")
