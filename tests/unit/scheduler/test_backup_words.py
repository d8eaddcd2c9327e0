"""What do people read of a backup, when they look for the one to restore?"""

from remuda.scheduler.bundle import Manifest
from remuda.scheduler.offline import shown

MADE = Manifest("0.1.0", 5, 4, 7, "plant", "", "sched", 1_795_968_581_925, True, 41, 2_000)


def test_people_read_of_when_a_backup_is_and_what_went_along() -> None:
    assert [
        "made     2026-11-29T16:09:41Z, 2.5 h ago, while a scheduler ran",
        "cluster  plant, on sched",
        "tasks    41 open, 2,000 ended",
        "along    neither keys nor objects",
    ] == shown(MADE, MADE.at_ms + 9_000_000)[:4]
