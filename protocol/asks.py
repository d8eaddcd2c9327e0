"""What was granted of what a task asks for, as a node and the journal read it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from .codec import pack_document, unpack_document
from .resources import Request
from .spec import GPU_FIELDS, HOST_FIELDS, from_document

_UNDECIDED = ("vram", "alternatives")
AS_ASKED = b""
"""Stands for a request that the spec states as it is."""


@functools.lru_cache(maxsize=4_096)
def to_blob(request: Request) -> bytes:
    """Write a request without alternatives as the fields of a spec that state it."""
    document: dict[str, Any] = {
        name: getattr(request, name) for name in (*GPU_FIELDS, *HOST_FIELDS)
    }
    for name in ("labels", "resources"):
        document[name] = dict(document[name])
    document["nodes"] = list(document["nodes"])
    return pack_document(document)


def apply(body: bytes, asked: bytes) -> bytes:
    """Return an encoded spec that asks for exactly what was granted."""
    if not asked:
        return body
    document = unpack_document(body)
    for name in _UNDECIDED:
        document.pop(name, None)
    return pack_document(document | unpack_document(asked))


def granted(request: Request, asked: bytes) -> Request:
    """Return what was granted of a request, by what `to_blob` wrote."""
    if not asked:
        return request
    stated = from_document({"kind": "command", **unpack_document(asked)}).request
    fields = {name: getattr(stated, name) for name in (*GPU_FIELDS, *HOST_FIELDS)}
    return dataclasses.replace(request, **fields, learned="", others=())
