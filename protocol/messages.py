"""What is on the wire: the catalogue of all messages, by the number that a frame carries.

| file | who speaks |
|---|---|
| `requests.py` | clients, on control |
| `replies.py` | the scheduler to clients |
| `uplink.py` | nodes: control, uplink, heartbeat |
| `downlink.py` | the scheduler to nodes: dispatch, beacon |
"""

from __future__ import annotations

from .downlink import (
    Beacon,
    Desired,
    Fetch,
    Kill,
    Offer,
    Registered,
    ResultAck,
)
from .message import (
    BATCH_MAX,
    MAP_FRAME_TASKS,
    OUTPUT_CHUNK_BYTES,
    OUTPUT_KEPT_BYTES,
    SOURCE_BYTES_MAX,
    TAKEN_BACK,
    VALUE_BYTES_MAX,
    Message,
    Outcome,
    Phase,
)
from .replies import (
    Cancelled,
    Changes,
    Document,
    Done,
    Failure,
    Output,
    Page,
    Resolved,
    Submitted,
)
from .requests import (
    AllowKey,
    Cancel,
    DeclareLost,
    Drain,
    Explain,
    ForgetNode,
    ListKeys,
    ListNodes,
    ListTasks,
    Logs,
    Resolve,
    Retry,
    RevokeKey,
    ShowBatch,
    ShowConfig,
    ShowTask,
    States,
    Status,
    Submit,
    Undrain,
    Watch,
)
from .uplink import (
    Accept,
    Heartbeat,
    Progress,
    Register,
    Reject,
    Results,
    Started,
)

MESSAGES: dict[int, type[Message]] = {kind.TYPE: kind for kind in Message.__subclasses__()}

__all__ = [
    "BATCH_MAX",
    "MAP_FRAME_TASKS",
    "MESSAGES",
    "OUTPUT_CHUNK_BYTES",
    "OUTPUT_KEPT_BYTES",
    "SOURCE_BYTES_MAX",
    "TAKEN_BACK",
    "VALUE_BYTES_MAX",
    "Accept",
    "AllowKey",
    "Beacon",
    "Cancel",
    "Cancelled",
    "Changes",
    "DeclareLost",
    "Desired",
    "Document",
    "Done",
    "Drain",
    "Explain",
    "Failure",
    "Fetch",
    "ForgetNode",
    "Heartbeat",
    "Kill",
    "ListKeys",
    "ListNodes",
    "ListTasks",
    "Logs",
    "Message",
    "Offer",
    "Outcome",
    "Output",
    "Page",
    "Phase",
    "Progress",
    "Register",
    "Registered",
    "Reject",
    "Resolve",
    "Resolved",
    "ResultAck",
    "Results",
    "Retry",
    "RevokeKey",
    "ShowBatch",
    "ShowConfig",
    "ShowTask",
    "Started",
    "States",
    "Status",
    "Submit",
    "Submitted",
    "Undrain",
    "Watch",
]
