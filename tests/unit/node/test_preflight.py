"""Does a host that would be a bad node hear so in words, with what to do, before it joins?"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from remuda.config import clock_checks, disk_checks, host_checks
from remuda.config.enrolment import Welcome
from remuda.config.findings import (
    Finding,
    Level,
    fine,
    of_level,
    render,
    serious,
    to_plain,
    warning,
)
from remuda.config.settings_node import NodeSettings
from remuda.node import preflight_cluster, preflight_driver, preflight_host
from remuda.node.capabilities import HostFacts, Limits
from remuda.node.gpu import Gpu, LostGpu, Reading
from remuda.node.preflight_cluster import Reach
from remuda.node.report import Report
from remuda.protocol.codec import VERSION, VERSION_OLDEST

from .core_driver import CoreDriver

GIB = 1 << 30
CARD = Gpu("GPU-a", 0, "L4", 24 * GIB, 23 * GIB, 89, "550.54")
WELCOME = Welcome("n", "node", "lab", "0.4", VERSION_OLDEST, VERSION)


def levels(findings: Any) -> list[tuple[str, Level]]:
    return [(each.topic, each.level) for each in findings]


# --- clock --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("between", "ahead_ms"),
    [((-5, 8), 0), ((0, 0), 0), ((3_000, 3_010), 3_000), ((-9_000, -8_000), -8_000)],
)
def test_clocks_differ_by_what_the_way_of_the_answer_cannot_explain(
    between: tuple[int, int], ahead_ms: int
) -> None:
    assert ahead_ms == clock_checks.ahead_ms(between)


@pytest.mark.parametrize(
    ("between", "level", "text"),
    [
        ((-900, 1_500), Level.FINE, "agrees"),
        ((1_999, 1_999), Level.FINE, "agrees"),
        ((2_000, 2_100), Level.WARNING, "clock is 2 s ahead of the scheduler's"),
        ((-59_999, -59_000), Level.WARNING, "clock is 59 s behind the scheduler's"),
        ((60_000, 60_001), Level.SERIOUS, "clock is 60 s ahead"),
        ((-7_200_100, -7_200_000), Level.SERIOUS, "clock is 120 minutes behind"),
    ],
)
def test_a_clock_is_judged_by_how_wrong_it_is(
    between: tuple[int, int], level: Level, text: str
) -> None:
    (found,) = clock_checks.judge_apart(between)
    assert (level, True) == (found.level, text in found.text)
    assert (level is Level.FINE) == (not found.remedy)


# --- versions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lowest", "highest", "level", "remedy"),
    [
        (VERSION_OLDEST, VERSION, Level.FINE, ""),
        (VERSION, VERSION + 1, Level.FINE, ""),
        (VERSION_OLDEST, VERSION - 1, Level.WARNING, "upgrade the scheduler"),
        (VERSION + 1, VERSION + 2, Level.SERIOUS, "upgrade this host"),
        (0, VERSION_OLDEST - 1, Level.SERIOUS, "upgrade this scheduler"),
    ],
)
def test_versions_that_do_not_go_together_say_which_side_is_to_be_upgraded(
    lowest: int, highest: int, level: Level, remedy: str
) -> None:
    welcome = replace(WELCOME, protocol_min=lowest, protocol_max=highest)
    (found,) = preflight_cluster.judge_versions(welcome, "0.5")
    assert (level, True) == (found.level, remedy in found.remedy)


# --- ports --------------------------------------------------------------------------------------

PORTS = {"control": 7700, "uplink": 7701, "heartbeat": 7702, "beacon": 7703, "dispatch": 7710}
ALL = dict.fromkeys(("uplink", "heartbeat", "beacon", "dispatch"), Reach.OPEN)


def test_ports_that_are_all_reached_are_named() -> None:
    (found,) = preflight_cluster.judge_ports("sched", PORTS, ALL)
    assert (Level.FINE, True) == (found.level, "dispatch 7710" in found.text)


def test_a_firewall_that_only_opens_the_control_port_is_told_with_the_ports_to_open() -> None:
    reached = dict.fromkeys(ALL, Reach.SILENT)
    (found,) = preflight_cluster.judge_ports("sched", PORTS, reached)
    assert found.level is Level.SERIOUS
    assert "not reached on sched: uplink 7701 (no answer), heartbeat 7702 (no answer)" in found.text
    assert "from this host to sched, ports 7701, 7702, 7703, 7710 (each node has" in found.remedy


@pytest.mark.parametrize(
    ("how", "remedy"),
    [
        (Reach.REFUSED, "a firewall, a security group or a port forwarding"),
        (Reach.KEY_REFUSED, "was the key of this node revoked?"),
        (Reach.NOT_OURS, "another program answers there"),
        (Reach.MUTE, "it is too busy to answer: try again"),
    ],
)
def test_each_way_not_to_reach_a_port_has_its_remedy(how: Reach, remedy: str) -> None:
    (found,) = preflight_cluster.judge_ports("sched", PORTS, {**ALL, "beacon": how})
    assert f"beacon 7703 ({how.value})" in found.text
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("how", "said"),
    [(Reach.REFUSED, "refuses connections"), (Reach.MUTE, "is slow: it takes connections")],
)
def test_a_store_that_is_down_or_busy_keeps_nobody_from_joining(how: Reach, said: str) -> None:
    ports, reached = {**PORTS, "store": 7704}, {**ALL, "store": how}
    found = list(preflight_cluster.judge_ports("sched", ports, reached))
    assert [Level.WARNING, Level.FINE] == [each.level for each in found]
    assert f"the store (port 7704 of sched) {said}" in found[0].text


def test_a_store_behind_a_firewall_does() -> None:
    reached = {**ALL, "store": Reach.SILENT}
    (found,) = preflight_cluster.judge_ports("sched", {**PORTS, "store": 7704}, reached)
    assert (Level.SERIOUS, True) == (found.level, "store 7704 (no answer)" in found.text)


# --- driver -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Driver/library version mismatch", "upgraded while it was loaded: reboot"),
        ("Driver Not Loaded", "modprobe nvidia"),
        ("NVML Shared Library Not Found", "libnvidia-ml.so.1"),
        ("NVML could not be loaded: No module named 'pynvml'", "nvidia-ml-py"),
        ("Insufficient Permissions", "/dev/nvidia*"),
        ("GPU is lost", "fallen off the bus"),
        ("Unknown Error", "daemon-reload"),
        ("NVML did not answer within 10 s", "the driver hangs"),
        ("no answer within 10 s", "the driver hangs"),
        ("something new", "nvidia-smi"),
    ],
)
def test_a_host_with_cards_that_the_driver_does_not_show_cannot_join(
    said: str, remedy: str
) -> None:
    reading = Reading(reason=said)
    (found,) = preflight_driver.judge_driver(reading, ["PCI 0000:01:00.0"], None)
    assert (Level.SERIOUS, True) == (found.level, said in found.text)
    assert "PCI 0000:01:00.0" in found.text
    assert remedy in found.remedy
    assert "to join without GPUs set [node] gpus = []" in found.remedy


def test_a_host_whose_cards_are_not_wanted_can_join() -> None:
    reading = Reading(reason="Driver Not Loaded")
    (found,) = preflight_driver.judge_driver(reading, ["PCI 0000:01:00.0"], ())
    assert found.level is Level.FINE


def test_a_host_without_cards_can_join() -> None:
    (found,) = preflight_driver.judge_driver(Reading(reason="no library"), [], None)
    assert fine("gpus", "none: no library") == found


def test_cards_that_the_driver_shows_are_named_and_the_lost_ones_too() -> None:
    reading = Reading((CARD,), "550.54", lost=(LostGpu(1, "GPU is lost"),))
    found = list(preflight_driver.judge_driver(reading, ["PCI 0000:01:00.0"], ("GPU-a", "GPU-b")))
    assert [Level.FINE, Level.WARNING, Level.WARNING] == [each.level for each in found]
    assert "L4 24GiB; driver 550.54" == found[0].text
    assert "card 1 cannot be read: GPU is lost" == found[1].text
    assert "GPU-b is granted by [node] gpus and not found" == found[2].text


def test_a_card_that_somebody_uses_already_is_named() -> None:
    busy = replace(CARD, memory_free_bytes=4 * GIB)
    (found,) = preflight_driver.judge_use(Reading((CARD, busy), "550.54"))
    assert "20GiB of 24GiB are in use by others" in found.text


def pci(root: Path, slot: str, vendor: str, kind: str, driver: str = "") -> None:
    device = root / "sys/bus/pci/devices" / slot
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    if driver:
        (device / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")


def test_cards_are_seen_on_the_bus_whatever_the_driver_says(tmp_path: Path) -> None:
    pci(tmp_path, "0000:01:00.0", "0x10de", "0x030200")
    pci(tmp_path, "0000:02:00.0", "0x10de", "0x030000", "nouveau")
    pci(tmp_path, "0000:02:00.1", "0x10de", "0x040300")  # the sound of a card
    pci(tmp_path, "0000:03:00.0", "0x8086", "0x030000")  # somebody else's card
    pci(tmp_path, "0000:04:00.0", "0x10de", "0x030200", "vfio-pci")  # a guest has it
    expected = ["PCI 0000:01:00.0", "PCI 0000:02:00.0"]
    assert expected == preflight_driver.seen_cards(tmp_path)


def test_where_no_bus_is_shown_the_devices_of_the_driver_count(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    assert ["/dev/nvidia0"] == preflight_driver.seen_cards(tmp_path)


# --- disk ---------------------------------------------------------------------------------------


PLACE = preflight_host.place_of(Path("/x"))


def figures(free_bytes: int = 100 * GIB, flags: int = 0) -> Any:
    return SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096, f_flag=flags, f_files=0)


@pytest.mark.parametrize(
    ("free_bytes", "level"),
    [(1 << 20, Level.SERIOUS), (GIB, Level.WARNING), (100 * GIB, Level.FINE)],
)
def test_a_disk_is_judged_by_its_room(free_bytes: int, level: Level) -> None:
    (found,) = disk_checks.judge_room(PLACE, "ext4", figures(free_bytes))
    assert level is found.level


def test_a_disk_on_which_nothing_can_be_run_is_named() -> None:
    assert [] == list(preflight_host.judge_exec(PLACE.folder, figures()))
    (found,) = preflight_host.judge_exec(PLACE.folder, figures(flags=os.ST_NOEXEC))
    assert (Level.WARNING, True) == (found.level, "noexec" in found.text)


def test_a_disk_that_is_memory_is_named() -> None:
    found = list(disk_checks.judge_room(PLACE, "tmpfs", figures()))
    assert "gone after a reboot" in found[1].text


def host(folder: Path) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for each in preflight_host.of_host(NodeSettings(gpus=()), folder, Reading(reason="none")):
        found.setdefault(each.topic, []).append(each)
    return found


def test_a_network_file_system_is_refused_and_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight_host, "file_system_of", lambda folder: "nfs4")
    (found,) = host(tmp_path)["disk"]
    assert (Level.SERIOUS, True) == (found.level, "network file system (nfs4)" in found.text)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (found,) = host(tmp_path / "missing")["disk"]
    assert (Level.SERIOUS, True) == (found.level, "No such file" in found.text)


def test_a_good_folder_is_tried_out_and_left_as_it_was(tmp_path: Path) -> None:
    assert Level.FINE is host(tmp_path)["disk"][0].level
    assert [] == list(tmp_path.iterdir())


def test_a_path_that_leaves_no_room_for_the_sockets_of_tasks_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    (found,) = host(deep)["path"]
    assert found.level is Level.WARNING


def test_tight_limits_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_checks.resource, "getrlimit", lambda which: (256, 4096))
    found = host(tmp_path)["limits"]
    assert ["open files", "processes"] == [
        next(what for what in ("open files", "processes") if what in each.text) for each in found
    ]


def test_cards_whose_locks_cannot_be_written_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    node = NodeSettings(lock_dir=tmp_path / "file")
    found = preflight_host.of_host(node, tmp_path, Reading((CARD,), "550.54"))
    bad = of_level(found, Level.SERIOUS)
    assert ["GPU locks cannot be written to"] == [each.text[:30] for each in bad]


# --- the report ---------------------------------------------------------------------------------

FOUND = [
    fine("gpus", "2 x L4"),
    warning("disk", "little room", "make some"),
    serious("limits", "it is all wrong", "mend it"),
    warning("path", "is long", "shorten it"),
]


def test_a_report_has_a_line_for_each_finding_with_its_remedy_below() -> None:
    assert (
        "fine     gpus      2 x L4\n"
        "warning  disk      little room\n"
        "                   -> make some\n"
        "serious  limits    it is all wrong\n"
        "                   -> mend it\n"
    ) == render(FOUND[:3])


def test_a_report_for_programs_is_plain() -> None:
    expected = {"topic": "gpus", "level": "fine", "text": "2 x L4", "remedy": ""}
    assert expected == to_plain(FOUND)[0]


def test_what_was_found_goes_with_what_the_node_says_of_itself() -> None:
    report = Report(
        HostFacts("h", "boot", "6.1", "3.11", 1000, GIB), Limits(), {}, "1", found=FOUND
    )
    statement = report.statement(CoreDriver().core, {}, report.alarms())
    assert ["limits: it is all wrong: mend it"] == statement["alarms"]
    assert {"disk: little room: make some", "limits: it is all wrong: mend it"} <= set(
        statement["notes"]
    )


def test_cards_that_came_back_end_the_alarm_about_them() -> None:
    facts = HostFacts("h", "boot", "6.1", "3.11", 1000, GIB)
    found = [serious("gpus", "no driver", "load it")]
    assert 1 == len(Report(facts, Limits(), {}, "1", found=found).alarms())
    assert [] == Report(replace(facts, gpus=(CARD,)), Limits(), {}, "1", found=found).alarms()
