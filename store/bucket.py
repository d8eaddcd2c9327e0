"""How are objects kept in an S3-compatible bucket? By `obstore`, staged on the local disk first."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..protocol.claims import DIGEST_BYTES
from ..protocol.errors import Refused
from .backend import Staged

UPLOAD_CHUNK_BYTES = 8 << 20
UPLOADS_AT_ONCE = 2


def open_bucket(url: str) -> Bucket:
    """Open the bucket of a URL like `s3://bucket/prefix`; raises Refused.

    Endpoint, region and credentials come from the environment, as AWS names them (AWS_ENDPOINT,
    AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...), or from the host's own role.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise Refused(
            "[store] url needs the package obstore: pip install 'remuda[s3]'", field="store.url"
        ) from error
    try:
        return Bucket(from_url(url))
    except (BaseError, ValueError) as error:
        raise Refused(f"[store] url: {url}: {_first_line(error)}", field="store.url") from error


class Bucket:
    """Objects as `objects/ab/abcd...` below the prefix of a store of `obstore`.

    An object is uploaded before it is published, by other threads than those that remove: what was
    removed in between is uploaded again from the staged file.
    """

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._brought: Counter[bytes] = Counter()
        self._lost: set[bytes] = set()

    def bring(self, staged: Staged) -> None:
        """Upload a staged file, in parts where it is large."""
        with self._lock:
            self._brought[staged.digest] += 1
        self._upload(staged)

    def _upload(self, staged: Staged) -> None:
        import obstore

        with _os_errors():
            obstore.put(
                self._bucket,
                _path(staged.digest),
                staged.path,
                chunk_size=UPLOAD_CHUNK_BYTES,
                max_concurrency=UPLOADS_AT_ONCE,
            )

    def publish(self, batch: Sequence[Staged]) -> None:
        """Make sure that what was uploaded is still there, and let go of the staged files."""
        for staged in batch:
            with self._lock:
                is_lost = staged.digest in self._lost
            if is_lost:
                self._upload(staged)
            self.drop(staged)

    def drop(self, staged: Staged) -> None:
        """Let go of a staged file."""
        staged.path.unlink(missing_ok=True)
        with self._lock:
            self._brought[staged.digest] -= 1
            if self._brought[staged.digest] <= 0:
                del self._brought[staged.digest]
                self._lost.discard(staged.digest)

    def remove(self, digests: Sequence[bytes]) -> None:
        """Delete objects; a crash may leave some, which the next start finds and removes."""
        import obstore

        if not digests:
            return
        with _os_errors():
            obstore.delete(self._bucket, [_path(digest) for digest in digests])
        with self._lock:
            self._lost.update(digest for digest in digests if digest in self._brought)

    def open(self, digest: bytes, size: int) -> BucketReader:
        """Say where an object is; that it is there shows at the first read."""
        return BucketReader(self._bucket, _path(digest))

    def digests(self) -> Iterator[bytes]:
        """List the bucket."""
        import obstore

        with _os_errors():
            for page in obstore.list(self._bucket, prefix="objects"):
                for found in page:
                    name = str(found["path"]).rpartition("/")[2]
                    if len(name) == 2 * DIGEST_BYTES:
                        yield bytes.fromhex(name)

    def close(self) -> None:
        """Nothing is held open."""


class BucketReader:
    """Reads ranges."""

    def __init__(self, bucket: Any, path: str) -> None:
        self._bucket = bucket
        self._path = path

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly so many bytes; raises OSError."""
        import obstore

        if not count:
            return b""
        with _os_errors():
            blob = bytes(obstore.get_range(self._bucket, self._path, start=offset, length=count))
        if len(blob) != count:
            raise OSError(f"{count} bytes at {offset} were to be read, {len(blob)} came")
        return blob

    def close(self) -> None:
        """Nothing is held open."""


@contextmanager
def _os_errors() -> Iterator[None]:
    """Let what goes wrong with a bucket look like what goes wrong with a disk."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise
    except BaseError as error:
        raise OSError(errno.EIO, f"the bucket: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _path(digest: bytes) -> str:
    name = digest.hex()
    return f"objects/{name[:2]}/{name}"
