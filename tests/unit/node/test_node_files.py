"""Does the next agent find what this one wrote down, and does old output go?"""

from dataclasses import replace

import msgpack
import pytest

from remuda.node import grants
from remuda.node.archive import Archive
from remuda.node.slots import CardCharge, Charge
from remuda.node.task import Attempt, plan_of
from remuda.protocol.spec import TaskSpec

from .core_driver import CoreDriver, spec

CHARGE = Charge(500, 1 << 20, (CardCharge("GPU-a", 250, 1 << 30),))


def attempt(number, **fields):
    spec = TaskSpec(kind="function", target="a:b", grace_ms=700, **fields)
    return Attempt(
        bytes([number]) * 16, number, b"token", plan_of(spec, "ann"), CHARGE, gpus=("GPU-a",),
        batch=b"b" * 16,
    )  # fmt: skip


def test_what_was_handed_over_can_be_read_back(tmp_path):
    written = grants.GrantsFile(tmp_path)
    written.add_worker(grants.WorkerGrant("w", "pool", "resident:x:0", ("GPU-a",)))
    written.add_attempts([attempt(1), attempt(2)])
    written.close()
    found = grants.read(tmp_path)
    assert {(b"\x01" * 16, 1), (b"\x02" * 16, 2)} == set(found.attempts)
    one = found.attempts[b"\x01" * 16, 1]
    assert (b"token", "function", 700, CHARGE, ("GPU-a",)) == (
        one.token,
        one.kind,
        one.grace_ms,
        one.charge,
        one.gpus,
    )
    assert "resident:x:0" == found.workers["w"].resident


def test_named_things_and_being_alone_outlive_an_agent(tmp_path):
    charge = Charge(500, 0, (), (("licence", 2),), True)
    written = grants.GrantsFile(tmp_path)
    written.add_attempts([replace(attempt(1), charge=charge), attempt(2)])
    written.close()
    found = grants.read(tmp_path).attempts
    assert [charge, CHARGE] == [each.charge for each in found.values()]


def test_a_charge_without_them_is_written_as_the_version_before_reads_it(tmp_path):
    written = grants.GrantsFile(tmp_path)
    written.add_attempts([attempt(1)])
    written.close()
    row = msgpack.unpackb((tmp_path / grants.FILE).read_bytes(), use_list=False)
    assert (CHARGE.cpus_milli, CHARGE.memory_bytes, CHARGE.cards) == row[7]


@pytest.mark.parametrize("fate", ["rerun", "fence"])
def test_what_is_to_be_stored_of_an_attempt_can_be_read_back(tmp_path, fate):
    written = grants.GrantsFile(tmp_path)
    written.add_worker(grants.WorkerGrant("w", "pool", "", (), b"p" * 32))
    written.add_attempts([attempt(1, outputs=["*.png"], keep_log=True, if_node_lost=fate)])
    written.close()
    found = grants.read(tmp_path)
    one = found.attempts[b"\x01" * 16, 1]
    assert (("*.png",), True, fate == "fence", b"p" * 32) == (
        one.outputs,
        one.keep_log,
        one.is_fenced,
        found.workers["w"].project,
    )


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_torn_end_costs_only_the_record_that_it_tears(tmp_path, cut):
    written = grants.GrantsFile(tmp_path)
    written.add_attempts([attempt(1), attempt(2)])
    written.close()
    path = tmp_path / grants.FILE
    path.write_bytes(path.read_bytes()[:-cut])
    assert {(b"\x01" * 16, 1)} == set(grants.read(tmp_path).attempts)


@pytest.mark.parametrize("garbage", [b"\xc1", b"\x01\x02", b"\x93\x01\x02\x03", b"\xa1x" * 50])
def test_a_file_of_garbage_reads_as_nothing(tmp_path, garbage):
    (tmp_path / grants.FILE).write_bytes(garbage)
    assert {} == grants.read(tmp_path).attempts


def test_a_long_file_begins_anew_and_still_knows_its_worker(tmp_path):
    worker = grants.WorkerGrant("w", "pool", "", ())
    written = grants.GrantsFile(tmp_path)
    written.add_worker(worker)
    while written.size_bytes < grants.FILE_BYTES_MAX:
        written.add_attempts([attempt(1)] * 1000)
    written.renew(worker)
    written.add_attempts([attempt(2)])
    written.close()
    found = grants.read(tmp_path)
    assert ({(b"\x02" * 16, 2)}, {"w"}) == (set(found.attempts), set(found.workers))


def runner(folder, *keys):
    for task, number in keys:
        (folder / "a" / f"{task.hex()}.{number}").mkdir(parents=True)
    return folder


ONE, TWO = (b"\x01" * 16, 1), (b"\x02" * 16, 1)


def test_output_is_kept_for_its_time_and_then_removed(tmp_path):
    archive = Archive(keep_ns=10, bytes_max=1000)
    directory = runner(tmp_path / "r", ONE)
    archive.keep(ONE, directory, 5, now=0)
    archive.expire(9)
    assert directory == archive.find(ONE)
    archive.expire(10)
    assert (None, []) == (archive.find(ONE), list((directory / "a").iterdir()))


def test_too_much_output_goes_oldest_first(tmp_path):
    archive = Archive(keep_ns=10, bytes_max=10)
    directory = runner(tmp_path / "r", ONE, TWO)
    archive.keep(ONE, directory, 6, now=0)
    archive.keep(TWO, directory, 6, now=0)
    archive.expire(1)
    assert (None, directory) == (archive.find(ONE), archive.find(TWO))


def test_a_dead_runners_directory_stays_until_the_last_result_is_let_go(tmp_path):
    archive = Archive(keep_ns=10, bytes_max=1000)
    directory = runner(tmp_path / "r", ONE, TWO)
    archive.keep(ONE, directory, 1, now=0)
    archive.bury(directory, {TWO})
    archive.let_go(TWO, directory)
    assert directory.is_dir()
    archive.expire(10)
    assert not directory.exists()


def test_a_grant_tells_whether_its_task_is_fenced(tmp_path):
    driver = CoreDriver()
    driver.offer(spec(argv=["x"], if_node_lost="fence"), b"1" * 16)
    driver.offer(spec(argv=["x"]), b"2" * 16)
    written = grants.GrantsFile(tmp_path)
    written.add_attempts(driver.state.attempts.values())
    written.close()
    found = grants.read(tmp_path).attempts
    assert [True, False] == [found[name * 16, 1].is_fenced for name in (b"1", b"2")]
