"""What a host offers, how limits narrow it and how it is written down."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from remuda.node.capabilities import (
    Disk,
    HostFacts,
    Limits,
    capabilities,
    from_plain,
    host_facts,
    limited,
    render,
    to_plain,
    usable_cpus_milli,
    write_capabilities,
)
from remuda.node.cgroup_limits import cpu_limit_milli, memory_limit_bytes
from remuda.node.gpu import Gpu, LostGpu, Reading, ReadingError
from remuda.protocol import capabilities as wire

GIB = 1024**3
CARD = Gpu("GPU-a", 0, "card", 24 * GIB, 23 * GIB, 86, "550")
SLICE = Gpu("MIG-1", 1, "slice", 5 * GIB, 5 * GIB, 80, "550", mig=True, parent_uuid="GPU-b")
HOST = HostFacts(
    "h", "boot", "6.1", "3.11.7", 8000, 64 * GIB, (Disk("/", "d", "ext4", 9, 4),), (CARD, SLICE)
)


def test_this_host_has_cpus_memory_and_a_disk() -> None:
    here = host_facts(Reading(reason="no driver"))
    assert here.cpus_milli >= 1
    assert here.memory_bytes > 0
    assert "/" in [disk.mount for disk in here.disks]


def test_no_more_cpus_are_usable_than_the_affinity_mask_has() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cpus_milli() <= 1000
    finally:
        os.sched_setaffinity(0, before)


def test_capabilities_survive_json() -> None:
    assert from_plain(json.loads(json.dumps(to_plain(HOST)))) == HOST


@pytest.mark.parametrize("damage", [{"disks": 3}, {"gpus": [{}]}, {"more": 1}])
def test_damaged_capabilities_are_refused(damage: dict[str, object]) -> None:
    with pytest.raises(ReadingError):
        from_plain(to_plain(HOST) | damage)


def test_what_the_scheduler_is_told_passes_its_checks() -> None:
    told = capabilities(HOST, labels={"zone": "a"}, version="1")
    assert told == wire.from_document(wire.to_document(told))


def test_a_reported_gpu_keeps_its_free_memory() -> None:
    told = capabilities(HOST).gpus[0]
    assert (CARD.uuid, CARD.memory_free_bytes) == (told.uuid, told.free_bytes)


def test_a_node_without_gpus_says_why_in_its_notes() -> None:
    assert capabilities(replace(HOST, gpus=(), gpus_reason="broken")).notes == ["no GPU: broken"]


def test_the_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "capabilities.json"
    path.write_text("old")
    write_capabilities(path, HOST)
    assert from_plain(json.loads(path.read_text())) == HOST
    assert [path] == list(tmp_path.iterdir())


def test_limits_never_add_to_what_the_host_has() -> None:
    wide = limited(HOST, Limits(cpus_milli=99_000, memory_bytes=1 << 50))
    assert (wide.cpus_milli, wide.memory_bytes) == (8000, 64 * GIB)


def test_limits_narrow_what_a_node_reports() -> None:
    narrow = limited(HOST, Limits(4000, 32 * GIB, ("GPU-a",)))
    assert (narrow.cpus_milli, narrow.memory_bytes, narrow.gpus) == (4000, 32 * GIB, (CARD,))


def test_a_granted_card_brings_its_mig_devices() -> None:
    assert limited(HOST, Limits(gpu_uuids=("GPU-b",))).gpus == (SLICE,)


def test_a_granted_gpu_that_is_not_there_is_named() -> None:
    assert limited(HOST, Limits(gpu_uuids=("GPU-a", "GPU-z"))).missing_gpu_uuids == ("GPU-z",)


def test_an_empty_grant_means_no_gpu() -> None:
    assert limited(HOST, Limits(gpu_uuids=())).gpus == ()


def test_the_printed_form_says_why_there_is_no_gpu() -> None:
    assert "none: no GPU is granted" in render(limited(HOST, Limits(gpu_uuids=())))


def test_a_card_that_cannot_be_read_is_printed_and_noted() -> None:
    facts = host_facts(Reading(gpus=(CARD,), lost=(LostGpu(1, "GPU is lost"),)))
    assert "lost      card 1: GPU is lost" in render(facts)
    assert ["GPU card 1: GPU is lost"] == capabilities(facts).notes


def test_the_printed_form_names_each_gpu() -> None:
    assert "card  23GiB free of 24GiB  compute 8.6  GPU-a" in render(HOST)


def test_the_page_says_whether_a_card_corrects_its_memory_and_what_it_could_not() -> None:
    told = replace(HOST.gpus[0], ecc=True, ecc_errors=2)
    assert "GPU-a  ECC on (2 uncorrectable errors)" in render(replace(HOST, gpus=(told,)))
    assert "GPU-a  ECC off\n" in render(
        replace(HOST, gpus=(replace(told, ecc=False, ecc_errors=0),))
    )


def cgroups(folder: Path, own: str, **files: str) -> dict[str, Path]:
    for name, text in files.items():
        path = folder / "mount" / name.replace("__", "/").replace("--", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return {"own": folder / "own", "mount": folder / "mount"}


def test_the_tightest_group_above_decides_the_memory(tmp_path: Path) -> None:
    where = cgroups(
        tmp_path, "0::/a/b\n", **{"a__b__memory--max": "max\n", "a__memory--max": "5000\n"}
    )
    assert memory_limit_bytes(**where) == 5000


def test_a_quota_of_version_two_is_read_as_a_share_of_its_period(tmp_path: Path) -> None:
    where = cgroups(tmp_path, "0::/a\n", **{"a__cpu--max": "150000 100000\n"})
    assert cpu_limit_milli(**where) == 1500


def test_version_one_is_read_too(tmp_path: Path) -> None:
    where = cgroups(
        tmp_path,
        "4:memory:/t\n3:cpu,cpuacct:/t\n",
        **{
            "memory__t__memory--limit_in_bytes": "7000\n",
            "cpu,cpuacct__t__cpu--cfs_quota_us": "50000\n",
            "cpu,cpuacct__t__cpu--cfs_period_us": "100000\n",
        },
    )
    assert (memory_limit_bytes(**where), cpu_limit_milli(**where)) == (7000, 500)


def test_a_group_without_limits_limits_nothing(tmp_path: Path) -> None:
    where = cgroups(
        tmp_path,
        "4:memory:/\n3:cpu:/\n0::/\n",
        **{
            "memory__memory--limit_in_bytes": str((1 << 63) - 4096),
            "cpu__cpu--cfs_quota_us": "-1",
            "cpu__cpu--cfs_period_us": "100000",
            "cpu--max": "max 100000",
        },
    )
    assert (memory_limit_bytes(**where), cpu_limit_milli(**where)) == (None, None)
