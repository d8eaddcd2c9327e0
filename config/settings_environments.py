"""What a node has around its tasks: interpreters, environments made from them, secrets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .fields import DAY_S, GIB, MINUTE_S, Bytes, FilePath, Seconds, Section, setting

PYTHONS_MAX = 64
SECRETS_MAX = 64
_CREDENTIAL_CHARS_MAX = 255


class EnvironmentSettings(Section):
    """Environments that a node makes for tasks that bring requirements."""

    READERS = ("node",)

    installer: Literal["auto", "uv", "pip"] = setting(
        "auto", "what installs; auto: uv where the agent finds one, else pip"
    )
    builds_max: int = setting(2, "environments that are made at a time", 1, 64)
    build_timeout_s: Seconds = setting(15 * MINUTE_S, "time to make one", 1.0, DAY_S)
    size_bytes_max: Bytes = setting(
        20 * GIB, "room for those that are kept; the least recently used go first", 0
    )


class PythonSettings(Section):
    """An interpreter that tasks and handlers can name."""

    READERS = ("node",)

    path: FilePath = Field(description="the program, as /opt/envs/sd/bin/python")


def _credential(found: str) -> str:
    if "/" in found or found in (".", ".."):
        raise ValueError("a credential is a name, as LoadCredential=NAME:... gives it, not a path")
    return found


class SecretSettings(Section):
    """A secret of this node, read when a task that names it starts."""

    READERS = ("node",)

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
