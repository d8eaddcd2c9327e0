"""What does a starting core need of the specs in the journal?"""

from __future__ import annotations

from typing import Any

import msgpack

from ..protocol.resources import Request
from ..protocol.spec import VRAM_AUTO, TaskSpec, command_kind, from_document, learned_as
from .adopted import why_only
from .task import Policy, policy_of, shared

ALIKE_MAX = 10_000
# These say what runs, not what it asks of the cluster.
_ABOUT_THE_WORK = (
    "argv", "env", "cwd", "stdin", "name", "tags", "source", "source_name", "array"
)  # fmt: skip
_SURROUNDINGS = ("files", "outputs", "project", "stdin_object", "requirements")


class StoredSpecs:
    """Reads spec documents; of those that ask the same of the cluster only the first is built.

    They were checked before they were stored: to check and build 100,000 again would be half of
    the time that a restarted scheduler takes until it serves.
    """

    def __init__(self) -> None:
        self._alike: dict[bytes, tuple[Request, Policy, str]] = {}

    def read(self, body: bytes) -> tuple[Request, Policy, str]:
        """Return what a spec asks for, its policy, and the kind of its work."""
        document: dict[str, Any] = msgpack.unpackb(body)
        argv = document.get("argv", ())
        if argv and document.get("vram") == VRAM_AUTO:
            document.setdefault("learn_as", command_kind(argv))
        for name in _ABOUT_THE_WORK:
            document.pop(name, None)
        if [name for name in _SURROUNDINGS if document.pop(name, None)]:
            document["keep_log"] = True  # stands for all that only newer nodes know
        alike: bytes = msgpack.packb(document)
        found = self._alike.get(alike)
        if found is None:
            found = self._remember(alike, from_document(document), why_only(document))
        request, policy, kind = found
        return request, policy, kind or learned_as(command_kind(argv), request.model)

    def _remember(self, alike: bytes, spec: TaskSpec, only_try: str) -> tuple[Request, Policy, str]:
        if len(self._alike) >= ALIKE_MAX:
            self._alike.clear()
        kind = "" if spec.kind == "command" and not spec.learn_as else spec.learns
        found = self._alike[alike] = (shared(spec.request), policy_of(spec, only_try), kind)
        return found
