"""A real mover under a test, which plays its agent."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from remuda.node.mover import words
from remuda.node.mover.words import Deliver, Prepare, Reach, Setup, Word
from remuda.node.porter import Porter
from remuda.protocol.trees import Entry, pack_tree

from .store_daemon import StoreDaemon, source_of

DEADLINE_S = 30.0
GIB = 1 << 30
W = TypeVar("W", bound=Word)


class MoverUnderTest:
    """One node's mover and its folder; `store` is where objects come from and go."""

    def __init__(self, folder: Path, store: StoreDaemon, **settings: Any) -> None:
        self.folder = folder
        self.store = store
        self.settings = settings
        self.living: list[str] = []
        self.heard: list[Word] = []
        self.porter = Porter(self._setup)
        self.start()

    def _setup(self) -> Setup:
        keys = self.store.keys["n1"]
        known = {
            "cache_bytes_max": GIB, "disk_free_bytes_min": 0, "dirs_bytes_max": GIB,
            "keep_s": 600.0, "patience_s": 30.0, "transfers": 4, "outputs_bytes_max": GIB,
        }  # fmt: skip
        return Setup(
            str(self.folder), **{**known, **self.settings}, public=keys.public,
            secret=keys.secret, living=self.living,
        )  # fmt: skip

    def start(self) -> None:
        """Have a mover, after the end of another one too."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.porter.start(time.monotonic_ns()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.porter.tell(Reach("127.0.0.1", self.store.port, self.store.public))

    def tell(self, word: Word) -> None:
        self.porter.tell(word)

    def wait_for(self, kind: type[W], name: str = "") -> W:
        """Return the first word of a kind about an attempt; a failure instead is told."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            for word in self.heard:
                about = getattr(word, "name", "")
                if isinstance(word, kind) and about == name:
                    self.heard.remove(word)
                    return word
                assert not (isinstance(word, words.Failed) and about == name), word
            select.select([self.porter.fileno()], [], [], 1.0)
            self.heard += self.porter.hear(time.monotonic_ns())
        raise AssertionError(f"no {kind.__name__} came of {name}; heard {self.heard[-10:]}")

    def prepare(self, name: str, *, wait: bool = True, **fields: Any) -> Path:
        """Have an attempt's directory made."""
        known = {
            "has_directory": True, "files": [], "objects": [], "project": b"", "is_command": True,
            "claims": b"",
        }  # fmt: skip
        self.tell(Prepare(name, **{**known, **fields}))
        if wait:
            self.wait_for(words.Prepared, name)
        return self.work(name)

    def deliver(self, name: str, *patterns: str, **fields: Any) -> words.Delivered:
        """Have stored what an attempt left."""
        known = {"returns": False, "logs_dir": ""}
        self.tell(Deliver(name, list(patterns), **{**known, **fields}))
        return self.wait_for(words.Delivered, name)

    def failure(self, name: str) -> words.Failed:
        return self.wait_for(words.Failed, name)

    def work(self, name: str) -> Path:
        return self.folder / "tasks" / name / "work"

    def project(self, digest: bytes) -> Path:
        return self.folder / "cache" / "projects" / digest.hex()

    def cached(self, digest: bytes) -> Path:
        return self.folder / "cache" / digest.hex()[:2] / digest.hex()

    def put(self, blob: bytes, *, tree: bool = False) -> tuple[bytes, int, bytes]:
        """Put an object as a user; return digest, size and the node's claim."""
        source = source_of(blob, tree=tree)
        with self.store_mover() as mover:
            mover.put([source])
        claim = self.store.read_claim("n1", source.digest, source.size)
        return source.digest, source.size, claim

    def put_tree(self, files: dict[str, bytes], *programs: str) -> tuple[bytes, int, bytes]:
        """Put a folder of files as a user."""
        entries = []
        for name, blob in files.items():
            digest, size, _ = self.put(blob)
            entries.append(Entry(name, digest, size, "exec" if name in programs else "file"))
        return self.put(pack_tree(entries), tree=True)

    def fetched(self, digest: bytes, size: int) -> bytes:
        """Read an object back from the store, as whoever a task entitles."""
        claim = self.store.read_claim("bob", digest, size)
        return self.store.mover("bob").get_bytes(digest, claim, size)

    def store_mover(self) -> Any:
        return self.store.mover("alice")


@contextmanager
def mover_of(folder: Path, store: StoreDaemon, **settings: Any) -> Iterator[MoverUnderTest]:
    """Run a mover for a node that has a folder."""
    made = MoverUnderTest(folder, store, **settings)
    try:
        yield made
    finally:
        made.porter.close()
