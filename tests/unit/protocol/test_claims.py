"""Is a claim good for its holder, its verb and its time alone?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.protocol import claims
from remuda.protocol.claims import Claim, Object, Verb
from remuda.protocol.errors import Invalid, NotAllowed

SECRET = b"s" * claims.SECRET_BYTES
CLAIM = Claim(b"d" * 32, 7, 1_000)
GOOD = claims.sign(SECRET, Verb.HAVE, "ana", CLAIM)


def test_a_good_claim_says_what_was_signed() -> None:
    assert CLAIM == claims.check(SECRET, Verb.HAVE, "ana", GOOD, now_ms=1_000)


@pytest.mark.parametrize(
    ("secret", "verb", "holder", "now_ms"),
    [
        (b"x" * 32, Verb.HAVE, "ana", 0),
        (SECRET, Verb.READ, "ana", 0),
        (SECRET, Verb.HAVE, "bob", 0),
        (SECRET, Verb.HAVE, "ana", 1_001),
    ],
    ids=["another secret", "another verb", "another holder", "too late"],
)
def test_a_claim_is_refused(secret: bytes, verb: Verb, holder: str, now_ms: int) -> None:
    with pytest.raises(NotAllowed, match="646464"):
        claims.check(secret, verb, holder, GOOD, now_ms)


@given(st.integers(0, claims.CLAIM_BYTES - 1), st.integers(1, 255))
def test_a_claim_with_any_byte_changed_is_refused(at: int, bits: int) -> None:
    forged = bytearray(GOOD)
    forged[at] ^= bits
    with pytest.raises(NotAllowed):
        claims.check(SECRET, Verb.HAVE, "ana", bytes(forged), now_ms=0)


@pytest.mark.parametrize("blob", [b"", GOOD[:-1], GOOD + b"x"])
def test_what_has_another_length_is_no_claim(blob: bytes) -> None:
    with pytest.raises(Invalid, match="64 bytes"):
        claims.check(SECRET, Verb.HAVE, "ana", blob, now_ms=0)


def test_claims_that_stand_in_a_row_are_cut() -> None:
    assert [GOOD, GOOD] == claims.split(GOOD * 2)


@pytest.mark.parametrize("blob", [GOOD[:-1], GOOD * 3])
def test_half_claims_and_too_many_are_refused(blob: bytes) -> None:
    with pytest.raises(Invalid):
        claims.split(blob, most=2)


@given(st.lists(st.builds(Object, st.binary(min_size=32, max_size=32), st.integers(0, 1 << 63))))
def test_kept_objects_come_back(objects: list[Object]) -> None:
    assert objects == list(claims.split_objects(claims.join_objects(objects)))
