"""What does a sender do when its store is of the release before?"""

from __future__ import annotations

from pathlib import Path

from remuda.protocol.errors import Invalid
from remuda.transfer import digest_file, unread
from remuda.transfer.pipeline import Step
from remuda.transfer.putting import Put


def test_a_file_is_read_for_its_digest_where_the_store_does_not_take_one_without(
    tmp_path: Path,
) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 100)
    put = Put(unread(path), lambda _: None)
    step = put.on_refusal(Invalid("an object has a SHA-256 and a size", field="digest"))
    assert (Step.ANEW, digest_file(path)) == (step, (put.source.digest, put.source.size))
