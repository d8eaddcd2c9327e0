"""Is what has no room refused, and by the right name?"""

import pytest

from remuda.protocol.errors import DiskFull, QueueFull, ValueTooLarge
from remuda.store.admission import Limits, Usage, check_room, check_size

LIMITS = Limits(
    object_bytes_max=100, quota_bytes=1_000, user_quota_bytes=500, disk_free_bytes_min=50
)


def usage(
    stored: int = 0, promised: int = 0, user: int = 0, unwritten: int = 0, free: int = 10_000
) -> Usage:
    return Usage(stored, promised, user, unwritten, free)


def test_what_just_fits_is_let_in() -> None:
    check_size(LIMITS, 100)
    check_room(LIMITS, usage(stored=800, promised=100), 100, is_user=True)
    check_room(LIMITS, usage(user=400), 100, is_user=True)
    check_room(LIMITS, usage(free=250, unwritten=100), 100, is_user=True)


def test_an_object_over_the_limit_is_too_large() -> None:
    with pytest.raises(ValueTooLarge, match="max_object"):
        check_size(LIMITS, 101)


@pytest.mark.parametrize(
    ("found", "kind", "setting"),
    [
        (usage(stored=800, promised=101), QueueFull, "quota"),
        (usage(user=401), QueueFull, "user_quota"),
        (usage(free=249, unwritten=100), DiskFull, "disk_free_min"),
    ],
)
def test_what_has_no_room_is_refused_with_a_time_and_the_setting(
    found: Usage, kind: type[QueueFull], setting: str
) -> None:
    with pytest.raises(kind, match=setting) as caught:
        check_room(LIMITS, found, 100, is_user=True)
    assert caught.value.retry_after_s > 0


def test_the_quota_of_users_does_not_bind_nodes() -> None:
    check_room(LIMITS, usage(user=1_000_000), 100, is_user=False)
