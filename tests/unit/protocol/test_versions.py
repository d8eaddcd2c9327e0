"""Is the protocol of the release before still spoken as it was?"""

from __future__ import annotations

import dataclasses

import pytest

from remuda.protocol import codec
from remuda.protocol import messages as m

# Every message of protocol 1 with its fields, as they were released: this table never changes.
FIRST = {
    (1, "Submit"): "submit_key session specs spec_index "
    "args batch_key offset once allow_infeasible",
    (2, "Cancel"): "tasks batches grace_ms",
    (3, "Retry"): "submit_key session tasks batches failed_only changes",
    (4, "Watch"): "session epoch seq wait_ms",
    (5, "States"): "tasks session",
    (6, "Resolve"): "refs",
    (7, "ListTasks"): "filters limit cursor",
    (8, "ShowTask"): "task",
    (9, "Explain"): "task",
    (10, "Logs"): "task attempt stream offset bytes_max",
    (11, "ListNodes"): "name",
    (12, "Status"): "",
    (13, "ShowConfig"): "key",
    (14, "ListKeys"): "",
    (15, "AllowKey"): "name role public_key",
    (16, "RevokeKey"): "name",
    (17, "ShowBatch"): "batch",
    (32, "Register"): "name incarnation boot_id protocol_min protocol_max "
    "capabilities tasks attempts tokens phases",
    (33, "Heartbeat"): "incarnation seq rev tasks attempts "
    "phases gpu_free probe_age_ms loop_lag_ms capabilities",
    (34, "Accept"): "tasks attempts",
    (35, "Reject"): "tasks attempts tokens reasons",
    (36, "Started"): "tasks attempts",
    (37, "Progress"): "tasks attempts milli texts",
    (38, "Results"): "tasks attempts tokens outcomes values details run_us",
    (64, "Failure"): "code message field retry_after_ms",
    (65, "Submitted"): "tasks batch offset count first_number",
    (66, "Cancelled"): "tasks verdicts",
    (67, "Changes"): "epoch seq gap tasks states codes attempts nodes values details",
    (68, "Resolved"): "tasks batches",
    (69, "Page"): "rows total cursor",
    (70, "Document"): "body",
    (71, "Output"): "request task attempt stream offset data total ended lost error",
    (72, "Done"): "message",
    (96, "Registered"): "name rev dispatch_port uplink_port heartbeat_port "
    "beacon_port heartbeat_ms lease_ms tasks attempts",
    (97, "Offer"): "incarnation rev specs owners spec_index tasks "
    "attempts tokens args gpus batches prefetched",
    (98, "Kill"): "incarnation tasks attempts grace_ms reasons",
    (99, "Desired"): "incarnation rev lease_ms tasks attempts",
    (100, "ResultAck"): "incarnation tasks attempts",
    (101, "Fetch"): "incarnation request task attempt stream offset bytes_max",
    (102, "Beacon"): "cluster config_rev admission_window_ms",
}
KINDS = sorted(m.MESSAGES.values(), key=lambda kind: kind.TYPE)


def fields_in(kind: type[m.Message], version: int) -> list[str]:
    """Name the fields that a version of the protocol has."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]  # Message has no fields of its own
    return [name for name in names if kind.ADDED.get(name, kind.SINCE) <= version]


def test_the_messages_of_protocol_1_are_what_they_were() -> None:
    first = {
        (kind.TYPE, kind.__name__): " ".join(fields_in(kind, 1))
        for kind in KINDS
        if codec.is_spoken(kind, 1)
    }
    assert FIRST == first


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_was_added_comes_last_and_may_be_left_out(kind: type[m.Message]) -> None:
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # Message has no fields of its own
    since = [kind.ADDED.get(field.name, kind.SINCE) for field in fields]
    assert sorted(since) == since
    added = [field for field in fields if field.name in kind.ADDED]
    assert not [
        field.name
        for field in added
        if field.default is field.default_factory is dataclasses.MISSING
        or field.name in kind.COLUMNS
    ]
