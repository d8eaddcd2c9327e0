"""What a node has around its tasks: interpreters, environments made from them, secrets."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from .fields import FilePath, Section, setting

PYTHONS_MAX = 64
SECRETS_MAX = 64
_CREDENTIAL_CHARS_MAX = 255


class PythonSettings(Section):
    """An interpreter that tasks and handlers can name."""

    path: FilePath = Field(description="the program, as /opt/envs/sd/bin/python")


def _credential(found: str) -> str:
    if "/" in found or found in (".", ".."):
        raise ValueError("a credential is a name, as LoadCredential=NAME:... gives it, not a path")
    return found


class SecretSettings(Section):
    """A secret of this node, read when a task that names it starts."""

    file: FilePath | None = setting(None, "the file that holds it, closed to others")
    credential: (
        Annotated[
            str,
            Field(min_length=1, max_length=_CREDENTIAL_CHARS_MAX),
            AfterValidator(_credential),
        ]
        | None
    ) = setting(None, "its name among the credentials that systemd gives the agent")

    @model_validator(mode="after")
    def _has_one_source(self) -> SecretSettings:
        if (self.file is None) == (self.credential is None):
            raise ValueError("a secret has either a file or a credential")
        return self
