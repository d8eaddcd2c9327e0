"""Is a card that is not well told from one that is, for as long as it is so?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from remuda.node import health, xids
from remuda.node.checkups import cards_from_plain, cards_to_plain
from remuda.node.gpu import RELEASE_SLACK_BYTES, Gpu, GpuProcess, LostGpu, Reading, Xid
from remuda.node.health import Health, Limits
from remuda.node.xids import WORDS, Blame, blame

SECOND = 1_000_000_000
GIB = 1 << 30
HEAT = ("heat (hardware)",)


def card(number: int, **more: object) -> Gpu:
    known = {"cc": 86, "driver": "550", "ecc_errors": 0}
    return Gpu(f"GPU-{number}", number, "card", 24 * GIB, 24 * GIB, **{**known, **more})  # type: ignore[arg-type]  # fields by name


class Ward:
    """A node's cards, read every second."""

    def __init__(self) -> None:
        self.health = Health(Limits(30 * SECOND, 60 * SECOND, 60 * SECOND, 600 * SECOND))
        self.now = 1_000 * SECOND
        self.free = frozenset({"GPU-0", "GPU-1"})

    def read(self, *gpus: Gpu, times: int = 1, **more: object) -> list[health.Blamed]:
        told = []
        for _ in range(times):
            self.now += SECOND
            reading = Reading(gpus, "550", **more)  # type: ignore[arg-type]  # fields by name
            told = health.see(self.health, reading, gpus, self.free, self.now, f"t{self.now}")
        return told

    def try_all(self) -> list[str]:
        """Try what is due by its readings alone; return which cards were."""
        due = health.trials_due(self.health, self.free, self.now)
        for uuid in due:
            why = health.obstacle(self.health.cards[uuid])
            health.on_tried(self.health, uuid, why, self.now)
        return due

    @property
    def kinds(self) -> dict[str, list[str]]:
        return {uuid: list(c.faults) for uuid, c in self.health.cards.items() if c.faults}


@pytest.fixture
def ward() -> Ward:
    made = Ward()
    made.read(card(0), card(1))
    return made


@pytest.mark.parametrize("xid", [46, 48, 62, 64, 74, 79, 95, 109, 119, 120, 144, 4711])
def test_an_xid_of_the_hardware_takes_its_card_out_and_no_other(ward: Ward, xid: int) -> None:
    told = ward.read(card(0), card(1), xids=(Xid(1, xid),))
    assert {"GPU-1": [f"xid {xid}"]} == ward.kinds
    assert {"GPU-1"} == ward.health.withheld().keys()
    assert [("GPU-1",)] == [each.uuids for each in told]


@pytest.mark.parametrize("xid", [13, 31, 39, 43, 45, 63, 69, 92, 94, 105, 137, 154])
def test_an_xid_after_which_the_card_goes_on_is_told_and_takes_no_card_out(
    ward: Ward, xid: int
) -> None:
    (told,) = ward.read(card(0), card(1), xids=(Xid(1, xid),))
    assert ({}, {}) == (ward.kinds, ward.health.withheld())
    assert told.text == f"XID {xid}: {WORDS[xid]}"


def test_no_xid_is_in_two_rows_of_the_table() -> None:
    rows = (xids._RESTART_APP, xids._IGNORE, xids._GPU, xids._CONTAINED, xids._REPAIR)
    assert sum(map(len, rows)) == len(WORDS)
    assert set(Blame) == {blame(xid) for xid in WORDS}
    assert Blame.GPU is blame(99_999)


def test_new_memory_errors_are_a_fault_and_known_ones_are_not(ward: Ward) -> None:
    ward.read(card(0, ecc_errors=2), card(1))
    assert {"GPU-0": ["ecc"]} == ward.kinds
    assert "2 new uncorrectable memory errors" in ward.health.withheld()["GPU-0"]
    other = Ward()
    other.read(card(0, ecc_errors=5), times=2)
    assert {} == other.kinds


def test_counters_that_begin_anew_with_the_driver_are_no_fault(ward: Ward) -> None:
    ward.read(card(0, ecc_errors=3), card(1))
    health.forget_faults(ward.health, ["GPU-0"])
    ward.read(card(0, ecc_errors=0), card(1))
    assert {} == ward.kinds
    ward.read(card(0, ecc_errors=1), card(1))
    assert {"GPU-0": ["ecc"]} == ward.kinds


@pytest.mark.parametrize("what", ["is_repair_pending", "has_repair_failed"])
def test_memory_that_is_not_repaired_is_a_fault_until_it_is(ward: Ward, what: str) -> None:
    ward.read(card(0, **{what: True}), card(1), times=70)
    assert [] == ward.try_all()
    assert {"GPU-0": ["repair"]} == ward.kinds
    ward.read(card(0), card(1), times=61)
    assert ["GPU-0"] == ward.try_all()
    assert {} == ward.kinds


def test_a_card_off_the_bus_is_a_fault_at_once_and_stays_listed(ward: Ward) -> None:
    ward.read(card(0), lost=(LostGpu(1, "GPU is lost", is_gone=True),))
    assert {"GPU-1": ["lost"]} == ward.kinds
    assert ["GPU-1"] == [gpu.uuid for gpu in ward.health.unseen()]


@pytest.mark.parametrize("lost", [(), (LostGpu(1, "Unknown Error"),)])
def test_a_card_that_is_not_shown_is_not_lent_and_becomes_a_fault(ward: Ward, lost: object) -> None:
    ward.read(card(0), lost=lost)
    assert ({}, {"GPU-1": "no reading shows it now"}) == (ward.kinds, ward.health.withheld())
    ward.read(card(0), lost=lost, times=2)
    assert {"GPU-1": ["lost"]} == ward.kinds


def test_a_card_that_one_reading_missed_is_lent_again(ward: Ward) -> None:
    ward.read(card(0))
    ward.read(card(0), card(1))
    assert {} == ward.health.withheld()


def test_a_failure_of_the_whole_library_says_nothing_of_any_card(ward: Ward) -> None:
    ward.read(reason="Driver/library version mismatch", times=9)
    assert ({}, {}) == (ward.kinds, ward.health.withheld())


def test_a_card_that_was_split_is_not_missed_nor_are_its_parts_when_it_is_whole(
    ward: Ward,
) -> None:
    part = replace(card(1), uuid="MIG-1", mig=True, parent_uuid="GPU-1")
    ward.read(card(0), part, times=9)
    assert {"GPU-0", "MIG-1"} == ward.health.cards.keys()
    ward.read(card(0), card(1), times=9)
    assert ({"GPU-0", "GPU-1"}, {}) == (ward.health.cards.keys(), ward.kinds)


def test_an_xid_of_a_split_card_is_of_all_its_parts() -> None:
    ward = Ward()
    parts = [replace(card(1), uuid=f"MIG-{n}", mig=True, parent_uuid="GPU-1") for n in (1, 2)]
    ward.read(*parts, xids=(Xid(1, 79),))
    ward.read(*parts, xids=(Xid(1, 79),))
    assert {"MIG-1": ["xid 79"], "MIG-2": ["xid 79"]} == ward.kinds


def test_heat_counts_once_it_lasts_and_is_over_once_it_was_gone_for_a_while(ward: Ward) -> None:
    hot = card(0, slowed_by=HEAT)
    ward.read(hot, card(1), times=30)
    assert {} == ward.health.withheld()
    ward.read(hot, card(1))
    assert {"GPU-0": "it is slowed down by heat (hardware)"} == ward.health.withheld()
    ward.read(card(0), card(1), times=60)
    assert {"GPU-0"} == ward.health.withheld().keys()
    ward.read(card(0), card(1))
    assert ({}, {}) == (ward.health.withheld(), ward.health.faults())


def test_heat_that_comes_and_goes_is_no_reason_to_stop(ward: Ward) -> None:
    for _ in range(10):
        ward.read(card(0, slowed_by=HEAT), card(1), times=20)
        ward.read(card(0), card(1))
    assert {} == ward.health.withheld()


def test_heat_that_returns_within_the_while_goes_on(ward: Ward) -> None:
    ward.read(card(0, slowed_by=HEAT), card(1), times=31)
    ward.read(card(0), card(1), times=50)
    ward.read(card(0, slowed_by=HEAT), card(1))
    ward.read(card(0), card(1), times=50)
    assert {"GPU-0"} == ward.health.withheld().keys()


# --- the way back --------------------------------------------------------------------------------


def test_a_faulty_card_is_tried_after_a_quiet_time_and_is_well_when_it_passes(ward: Ward) -> None:
    ward.read(card(0), card(1), xids=(Xid(1, 48),))
    ward.read(card(0), card(1), times=59)
    assert [] == ward.try_all()
    ward.read(card(0), card(1))
    assert ["GPU-1"] == ward.try_all()
    assert ({}, {}) == (ward.kinds, ward.health.withheld())


def test_nothing_is_tried_while_something_of_ours_is_on_the_card(ward: Ward) -> None:
    ward.read(card(0), card(1), xids=(Xid(1, 48),))
    ward.free = frozenset({"GPU-0"})
    ward.read(card(0), card(1), times=90)
    assert [] == ward.try_all()
    assert health.deadline(ward.health, ward.free) is None


def test_a_lost_card_is_not_well_before_it_is_read_again(ward: Ward) -> None:
    gone = (LostGpu(1, "GPU is lost", is_gone=True),)
    ward.read(card(0), lost=gone, times=200)
    assert [] == ward.try_all()
    ward.read(card(0), card(1), times=60)
    assert ["GPU-1"] == ward.try_all()
    assert {} == ward.kinds


def test_memory_that_belongs_to_nobody_fails_a_trial_and_that_of_strangers_does_not(
    ward: Ward,
) -> None:
    used = 24 * GIB - RELEASE_SLACK_BYTES - 1
    ward.read(card(0), card(1), xids=(Xid(0, 48), Xid(1, 48)))
    stranger = (GpuProcess(7, RELEASE_SLACK_BYTES + 1),)
    full = replace(card(0), memory_free_bytes=used)
    ward.read(full, replace(card(1), memory_free_bytes=used, processes=stranger), times=60)
    assert ["GPU-0", "GPU-1"] == ward.try_all()
    assert {"GPU-0": ["xid 48"]} == ward.kinds


def test_each_trial_that_fails_doubles_the_wait_up_to_its_bound(ward: Ward) -> None:
    ward.read(card(0), card(1), xids=(Xid(1, 48),))
    waits = []
    for _ in range(6):
        start = ward.now
        while not (due := health.trials_due(ward.health, ward.free, ward.now)):
            ward.read(card(0), card(1))
        waits.append((ward.now - start) // SECOND)
        health.on_tried(ward.health, due[0], "the trial ended with 1", ward.now)
    assert [60, 120, 240, 480, 600, 600] == waits


def test_a_fault_that_comes_back_soon_is_waited_for_longer(ward: Ward) -> None:
    for wait_s in (60, 120):
        ward.read(card(0), card(1), xids=(Xid(1, 48),))
        ward.read(card(0), card(1), times=wait_s - 1)
        assert [] == ward.try_all()
        ward.read(card(0), card(1))
        assert ["GPU-1"] == ward.try_all()


def test_faults_and_counters_are_kept_over_a_restart_of_the_agent(ward: Ward) -> None:
    ward.read(card(0, ecc_errors=2), lost=(LostGpu(1, "GPU is lost", is_gone=True),))
    before = ward.kinds
    kept = cards_to_plain(ward.health.cards)
    again = Ward()
    again.health.cards = cards_from_plain(kept, again.now)
    again.read(card(0, ecc_errors=2), lost=(LostGpu(1, "GPU is lost", is_gone=True),))
    assert {"GPU-0": ["ecc"], "GPU-1": ["lost"]} == before == again.kinds
    again.read(card(0, ecc_errors=2), card(1), times=60)
    assert ["GPU-0", "GPU-1"] == sorted(again.try_all())


def test_a_card_that_no_reading_has_shown_since_the_start_passes_no_trial(ward: Ward) -> None:
    ward.read(card(0), card(1), xids=(Xid(1, 48),))
    again = Ward()
    again.health.cards = cards_from_plain(cards_to_plain(ward.health.cards), again.now)
    again.now += 60 * SECOND
    assert ["GPU-1"] == again.try_all()
    assert {"GPU-1": ["xid 48"]} == again.kinds


def test_errors_that_came_while_no_agent_ran_are_seen_by_the_next_one(ward: Ward) -> None:
    again = Ward()
    again.health.cards = cards_from_plain(cards_to_plain(ward.health.cards), again.now)
    again.read(card(0, ecc_errors=1), card(1))
    assert {"GPU-0": ["ecc"]} == again.kinds


def test_a_person_is_believed_and_what_is_wrong_still_is_seen_again(ward: Ward) -> None:
    ward.read(card(0, is_repair_pending=True), card(1), xids=(Xid(1, 79),))
    health.forget_faults(ward.health, ["GPU-0", "GPU-1", "GPU-unknown"])
    assert {} == ward.kinds
    ward.read(card(0, is_repair_pending=True), card(1))
    assert {"GPU-0": ["repair"]} == ward.kinds


def test_a_card_that_is_gone_for_good_is_forgotten_by_a_persons_word(ward: Ward) -> None:
    ward.read(card(0), times=9)
    health.forget_faults(ward.health, ["GPU-1"])
    ward.read(card(0), times=9)
    assert {"GPU-0"} == ward.health.cards.keys()
