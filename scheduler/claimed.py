"""May the sender of a submission or a result refer to the objects that it names?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol import claims
from ..protocol.claims import Claim, Verb
from ..protocol.codec import pack_document
from ..protocol.errors import Invalid, NotAllowed, RemudaError
from ..protocol.messages import Outcome, Results, Submit
from .events import NewSpec

READ_MS = 3_600_000
NODE_READ_MS = 24 * READ_MS
"""A node may have to wait for its store."""


@dataclass(frozen=True, slots=True)
class Signatures:
    """Checks the claims that others bring, and signs those that a task entitles to."""

    secret: bytes

    def objects_of(self, blob: bytes, holder: str, now_ms: int, field: str = "objects") -> bytes:
        """Check the claims of one task or spec; return its objects as they are kept.

        Raises Invalid or NotAllowed.
        """
        if not blob:
            return b""
        try:
            found = [
                claims.check(self.secret, Verb.HAVE, holder, each, now_ms).object
                for each in claims.split(blob)
            ]
        except RemudaError as error:
            raise type(error)(f"{field}: {error.message}", field=field) from error
        return claims.join_objects(found)

    def entitle(self, objects: bytes, holder: str, now_ms: int, for_ms: int = READ_MS) -> bytes:
        """Sign the right to read objects for one key."""
        return b"".join(
            claims.sign(self.secret, Verb.READ, holder, Claim(*each, now_ms + for_ms))
            for each in claims.split_objects(objects)
        )


def marked(message: Submit) -> list[dict[str, Any]]:
    """Return the specs with a mark on those whose arguments name objects: no old node gets them."""
    naming = {
        index for index, blob in zip(message.spec_index, message.objects, strict=False) if blob
    }
    return [
        {**document, "objects": True} if index in naming else document
        for index, document in enumerate(message.specs)
    ]


def check_submission(
    signatures: Signatures, message: Submit, specs: Sequence[NewSpec], holder: str, now_ms: int
) -> tuple[list[bytes], list[bytes]]:
    """Return the objects of each task and of each spec; raises Invalid or NotAllowed.

    Both lists are empty where nothing names any.
    """
    for name, blobs, count in (
        ("objects", message.objects, len(message.args)),
        ("spec_objects", message.spec_objects, len(message.specs)),
    ):
        if len(blobs) not in (0, count):
            raise Invalid(f"{name}: found {len(blobs)} for {count}", field=name)
    of_tasks = [
        signatures.objects_of(blob, holder, now_ms, f"objects[{index}]") if blob else b""
        for index, blob in enumerate(message.objects)
    ]
    of_specs = [
        signatures.objects_of(blob, holder, now_ms, f"spec_objects[{index}]") if blob else b""
        for index, blob in enumerate(message.spec_objects)
    ]
    for index, spec in enumerate(specs):
        check_covered(spec, of_specs[index] if of_specs else b"", f"specs[{index}]")
    return of_tasks, of_specs


def check_covered(spec: NewSpec, objects: bytes, where: str) -> None:
    """Raise NotAllowed unless a spec names only objects that are claimed."""
    if not spec.digests:
        return
    claimed = {each.digest for each in claims.split_objects(objects)}
    for digest in spec.digests:
        if digest not in claimed:
            raise NotAllowed(
                f"{where}: names object {digest.hex()[:12]} without a claim: put it into the "
                "store first",
                field=where,
            )


def check_results(signatures: Signatures, message: Results, holder: str, now_ms: int) -> str:
    """Put the objects of each row in place of their claims; return what was wrong with some.

    A success whose claims are not good is none: what it names may be gone.
    """
    if not message.objects:
        return ""
    if len(message.objects) != len(message.tasks):
        message.objects = []
        return "the objects of its results are not one for each"
    trouble = ""
    for index, blob in enumerate(message.objects):
        try:
            message.objects[index] = signatures.objects_of(blob, holder, now_ms)
        except RemudaError as error:
            trouble = error.message
            message.objects[index], message.values[index] = b"", b""
            if message.outcomes[index] == Outcome.SUCCEEDED:
                message.outcomes[index] = Outcome.FAILED
                said = {"code": "output_missing", "message": f"its outputs are lost: {trouble}"}
                message.details[index] = pack_document(said)
    return trouble
