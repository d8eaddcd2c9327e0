"""Who may say what: one static table from message to roles, and which channel carries it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..protocol import messages as m
from ..protocol.errors import NotAllowed
from .rights import words_of


class Role(Enum):
    """What a key is for: `node` keys speak for a host, `store` for the store, others for people.

    An `invited` key is the one-time key of an invitation; nobody is given that role.
    """

    NODE = "node"
    VIEWER = "viewer"
    SUBMIT = "submit"
    OPERATOR = "operator"
    ADMIN = "admin"
    INVITED = "invited"
    STORE = "store"


GIVEN = (Role.NODE, Role.VIEWER, Role.SUBMIT, Role.OPERATOR, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever holds a live key; `key` is its public half (Z85)."""

    name: str
    role: Role
    key: str = ""

    @property
    def sees_payloads(self) -> bool:
        """Tell whether arguments, results, environments and logs are shown at all."""
        return self.role is not Role.VIEWER

    @property
    def owner_filter(self) -> str:
        """Return the owner whose tasks alone this principal may see and touch; "" is all."""
        return self.name if self.role is Role.SUBMIT else ""


_READERS = frozenset({Role.VIEWER, Role.SUBMIT, Role.OPERATOR, Role.ADMIN})
_SUBMITTERS = frozenset({Role.SUBMIT, Role.OPERATOR, Role.ADMIN})
_OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})
_NODES = frozenset({Role.NODE})
_NEWCOMERS = frozenset({Role.INVITED, Role.NODE})
_STORES = frozenset({Role.STORE})
_NOBODY: frozenset[Role] = frozenset()

# What is not in the table is allowed to nobody.
ALLOWED: dict[type[m.Message], frozenset[Role]] = {
    m.Submit: _SUBMITTERS,
    m.Cancel: _SUBMITTERS,
    m.Retry: _SUBMITTERS,
    m.Logs: _SUBMITTERS,
    m.Prune: _SUBMITTERS,
    m.AskTask: _SUBMITTERS,
    m.FindStore: _SUBMITTERS,
    m.TaskObjects: _SUBMITTERS,
    m.References: _STORES,
    m.Watch: _READERS,
    m.Events: _READERS,
    m.States: _READERS,
    m.Resolve: _READERS,
    m.ListTasks: _READERS,
    m.ShowTask: _READERS,
    m.ExportTasks: _READERS,
    m.Explain: _READERS,
    m.ListNodes: _READERS,
    m.ListGpus: _READERS,
    m.ListStats: _READERS,
    m.ListHandlers: _READERS,
    m.Status: _READERS,
    m.ShowConfig: _READERS,
    m.ListConfigVersions: _READERS,
    m.CompareConfig: _READERS,
    m.ConfigState: _READERS,
    m.ShowBatch: _READERS,
    m.ListBatches: _READERS,
    m.ChangeConfig: _OPERATORS,
    m.Drain: _OPERATORS,
    m.Undrain: _OPERATORS,
    m.DeclareLost: _OPERATORS,
    m.ForgetNode: _OPERATORS,
    m.CordonGpu: _OPERATORS,
    m.UncordonGpu: _OPERATORS,
    m.SwitchHandler: _OPERATORS,
    m.ReloadHandler: _OPERATORS,
    m.ListKeys: _OPERATORS,
    m.ListAudit: _OPERATORS,
    m.ShowRecovery: _OPERATORS,
    m.DecideRecovery: _OPERATORS,
    m.AllowKey: _ADMINS,
    m.RevokeKey: _ADMINS,
    m.Invite: _ADMINS,
    m.Enrol: _NEWCOMERS,
    m.Register: _NODES,
    m.Heartbeat: _NODES,
    m.Accept: _NODES,
    m.Reject: _NODES,
    m.Started: _NODES,
    m.Progress: _NODES,
    m.Results: _NODES,
    m.Output: _NODES,
    m.Answered: _NODES,
    m.Described: _NODES,
}

# Node messages that are not requests travel on channels of their own.
UPLINK = frozenset(
    {m.Accept, m.Reject, m.Started, m.Progress, m.Results, m.Output, m.Answered, m.Described}
)
HEARTBEAT = frozenset({m.Heartbeat})
CONTROL = frozenset(ALLOWED) - UPLINK - HEARTBEAT


def is_allowed(kind: type[m.Message], role: Role) -> bool:
    """Tell whether a role may send a message of this type on any channel."""
    return role in ALLOWED.get(kind, _NOBODY)


def check_control(kind: type[m.Message], principal: Principal) -> None:
    """Raise NotAllowed unless this principal may send this request on the control channel."""
    if kind in CONTROL and is_allowed(kind, principal.role):
        return
    if principal.role is Role.INVITED:
        raise NotAllowed(
            f"the key of an invitation may enrol and nothing else, so not {words_of(kind)}: use "
            "the line with `remuda-node --join` or `remuda login`"
        )
    raise NotAllowed(
        f"the key {principal.name!r} has the role {principal.role.value}, which may not "
        f"{words_of(kind)}: {_way_to(kind)}"
    )


def _way_to(kind: type[m.Message]) -> str:
    """Say which role would do, and how one comes to a key that has it."""
    able = [role.value for role in GIVEN if kind in CONTROL and is_allowed(kind, role)]
    if not able:
        return "nobody is given that right"
    return (
        f"that takes the role {' or '.join(able)}; an admin gives it with "
        f"`remuda key invite --role {able[0]}`, and `remuda login` takes the line that it prints"
    )
