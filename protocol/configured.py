"""What does a node go by, as it says so itself: which changes, what waits, what it refused?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ENTRIES_MAX = 1_000
ENTRIES_CHARS_MAX = 200_000
WAITING_MAX = 200
TEXT_CHARS_MAX = 2_000
SINCE = 5
"""The protocol from which on a node hears of changes."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A value that a node goes by and that is not the packaged one: as text, and where it is set.

    `layer` is the word of the layer; a value in the `waiting` of its node holds after a restart.
    """

    text: str
    origin: str
    layer: str


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The report of a node; `refused` names changes that it does not take (`why`).

    `is_said` tells a report from none: an old node, or one that was not heard yet.
    """

    refused: bytes = b""
    why: str = ""
    version: int = 0
    waiting: tuple[str, ...] = ()
    entries: Mapping[str, Shown] = field(default_factory=dict)
    is_said: bool = False


def digest_of(changes: Mapping[str, Any], reloads: int) -> bytes:
    """Name what a node is to go by: nothing where nothing was ever asked of it.

    `changes` are plain: by key a value with who set it, when, and in which version.
    """
    if not changes and not reloads:
        return b""
    told = json.dumps([reloads, changes], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(told.encode(), digest_size=16).digest()


def to_document(found: NodeConfig) -> dict[str, Any]:
    """Write a report; what is over the bounds is left out."""
    entries, chars = {}, 0
    for key, each in list(found.entries.items())[:ENTRIES_MAX]:
        row = [each.text[:TEXT_CHARS_MAX], each.origin[:TEXT_CHARS_MAX], each.layer]
        chars += len(key) + sum(map(len, row))
        if chars > ENTRIES_CHARS_MAX:
            break
        entries[key] = row
    return {
        "refused": found.refused,
        "why": found.why[:TEXT_CHARS_MAX],
        "version": found.version,
        "waiting": list(found.waiting[:WAITING_MAX]),
        "entries": entries,
    }


def from_document(document: Mapping[str, Any]) -> NodeConfig:
    """Read a report; raises ValueError for what is none. Fields of newer releases are ignored."""
    refused, why = document.get("refused", b""), document.get("why", "")
    version, waiting = document.get("version", 0), document.get("waiting", [])
    entries = document.get("entries", {})
    is_sound = (
        type(refused) is bytes
        and type(why) is str
        and type(version) is int
        and _are_texts(waiting, WAITING_MAX)
        and type(entries) is dict
        and len(entries) <= ENTRIES_MAX
        and all(_are_texts(row, 3) and len(row) == 3 for row in entries.values())
    )
    if not is_sound:
        raise ValueError("the report of a node's configuration has other fields")
    shown = {str(key): Shown(*row) for key, row in entries.items()}
    return NodeConfig(refused, why[:TEXT_CHARS_MAX], version, tuple(waiting), shown, is_said=True)


def _are_texts(found: object, most: int) -> bool:
    return isinstance(found, list) and len(found) <= most and all(type(t) is str for t in found)
