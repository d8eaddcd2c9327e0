"""May each role say exactly what it should, for every message there is?"""

import pytest

from remuda.protocol import messages as m
from remuda.protocol.errors import NotAllowed
from remuda.scheduler.access import (
    CONTROL,
    HEARTBEAT,
    UPLINK,
    Principal,
    Role,
    check_control,
    is_allowed,
)
from remuda.scheduler.rights import WORDS

# Every message with the roles that may send it: n(ode), v(iewer), s(ubmit), o(perator), a(dmin),
# i(nvited), t: the store.
# Written by hand, not derived: a change of the table must be made in both places.
VERDICTS = {
    "Submit": "soa", "Cancel": "soa", "Retry": "soa", "Logs": "soa",
    "AskTask": "soa",
    "Watch": "vsoa", "States": "vsoa", "Resolve": "vsoa", "ListTasks": "vsoa",
    "ShowTask": "vsoa", "ExportTasks": "vsoa", "Explain": "vsoa", "ListNodes": "vsoa",
    "Status": "vsoa",
    "ShowConfig": "vsoa", "ShowBatch": "vsoa", "ListBatches": "vsoa",
    "Drain": "oa", "Undrain": "oa", "DeclareLost": "oa", "ForgetNode": "oa",
    "ListGpus": "vsoa", "ListStats": "vsoa",
    "CordonGpu": "oa", "UncordonGpu": "oa", "ForgetFaults": "", "Evict": "",
    "ListHandlers": "vsoa", "SwitchHandler": "oa", "ReloadHandler": "oa", "HandlerOrders": "",
    "Events": "vsoa", "Prune": "soa", "EventRows": "",
    "ListKeys": "oa", "ListAudit": "oa", "ShowRecovery": "oa", "DecideRecovery": "oa",
    "Described": "n", "Describe": "", "AllowKey": "a", "RevokeKey": "a",
    "Invite": "a", "Enrol": "ni",
    "Register": "n", "Heartbeat": "n", "Accept": "n", "Reject": "n", "Started": "n",
    "Progress": "n", "Results": "n", "Output": "n", "Answered": "n",
    "Failure": "", "Submitted": "", "Cancelled": "", "Changes": "", "Resolved": "", "Page": "",
    "Document": "", "Done": "", "Registered": "", "Offer": "", "Kill": "", "Desired": "",
    "ResultAck": "", "Fetch": "", "Beacon": "", "Ask": "", "TaskAnswer": "",
    "FindStore": "soa", "TaskObjects": "soa", "References": "t", "Referenced": "",
    "PutObject": "", "PutChunk": "", "CheckObjects": "", "GetObject": "", "GetCredit": "",
    "Abandon": "", "AskStore": "", "PutCredit": "", "Stored": "", "Checked": "", "GetChunk": "",
    "StoreState": "", "StoreFailure": "",
    "ChangeConfig": "oa", "ListConfigVersions": "vsoa", "CompareConfig": "vsoa",
    "ConfigState": "vsoa", "Configure": "",
}  # fmt: skip
ON_CONTROL = {
    "Submit", "Cancel", "Retry", "Logs", "Watch", "States", "Resolve", "ListTasks", "ShowTask",
    "Explain", "ListNodes", "Status", "ShowConfig", "ShowBatch", "ListKeys", "AllowKey",
    "RevokeKey", "Register", "Drain", "Undrain", "DeclareLost", "ForgetNode",
    "ListGpus", "ListStats", "CordonGpu", "UncordonGpu",
    "ListHandlers", "SwitchHandler", "ReloadHandler",
    "Events", "Prune", "AskTask", "ListBatches", "Invite", "Enrol",
    "ChangeConfig", "ListConfigVersions", "CompareConfig", "ConfigState",
    "FindStore", "TaskObjects", "References", "ListAudit", "ExportTasks",
    "ShowRecovery", "DecideRecovery",
}  # fmt: skip
LETTER = {role: role.value[0] for role in Role} | {Role.STORE: "t"}
KINDS = sorted(m.MESSAGES.values(), key=lambda kind: kind.__name__)


def test_every_message_has_a_verdict() -> None:
    assert {kind.__name__ for kind in KINDS} == VERDICTS.keys()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_role_may_send_what_the_table_of_this_test_says(kind: type[m.Message]) -> None:
    allowed = "".join(LETTER[role] for role in Role if is_allowed(kind, role))
    assert VERDICTS[kind.__name__] == allowed


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("role", Role)
def test_control_takes_its_own_messages_from_these_roles_alone(
    kind: type[m.Message], role: Role
) -> None:
    name = kind.__name__
    expected = name in ON_CONTROL and LETTER[role] in VERDICTS[name]
    try:
        check_control(kind, Principal("somebody", role))
    except NotAllowed:
        assert not expected
    else:
        assert expected


def test_the_channels_share_no_message() -> None:
    assert (set(), set(), set()) == (CONTROL & UPLINK, CONTROL & HEARTBEAT, UPLINK & HEARTBEAT)


def test_the_key_of_an_invitation_may_enrol_and_nothing_else() -> None:
    assert [m.Enrol] == [kind for kind in KINDS if is_allowed(kind, Role.INVITED)]
    with pytest.raises(NotAllowed, match="may enrol and nothing else, so not submit tasks"):
        check_control(m.Submit, Principal("x", Role.INVITED))


def test_a_refusal_says_in_words_what_takes_which_role_and_how_to_get_it() -> None:
    with pytest.raises(NotAllowed) as caught:
        check_control(m.ListKeys, Principal("ann", Role.VIEWER))
    assert (
        "the key 'ann' has the role viewer, which may not list keys: that takes the role operator "
        "or admin; an admin gives it with `remuda key invite --role operator`, and `remuda login` "
        "takes the line that it prints"
    ) == str(caught.value)


def test_what_nobody_is_given_promises_no_role() -> None:
    with pytest.raises(NotAllowed, match=r"which may not ask which objects .* nobody is given"):
        check_control(m.References, Principal("ann", Role.ADMIN))


def test_every_request_has_words_for_what_it_does() -> None:
    assert set(CONTROL) == set(WORDS)


@pytest.mark.parametrize(
    ("role", "expected"),
    [(Role.VIEWER, ("", False)), (Role.SUBMIT, ("me", True)), (Role.OPERATOR, ("", True)),
     (Role.ADMIN, ("", True))],
)  # fmt: skip
def test_a_role_says_whose_tasks_and_whether_payloads_are_seen(
    role: Role, expected: tuple[str, bool]
) -> None:
    who = Principal("me", role)
    assert expected == (who.owner_filter, who.sees_payloads)
