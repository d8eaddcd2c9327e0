"""The other half of the store's protocol: how clients and nodes put objects and get them."""

from __future__ import annotations

from .hashing import Digest, digest_bytes, digest_file
from .mover import Mover
from .wants import Progress, Source, Want, unread

__all__ = ["Digest", "Mover", "Progress", "Source", "Want", "digest_bytes", "digest_file", "unread"]
