"""remuda: a scheduler for fleets of GPU hosts. The public face, loaded name by name.

Importing this imports nothing else: a worker in a stranger's environment takes `current` from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client.async_client import AsyncClient as AsyncClient
    from .client.async_task import AsyncBatch as AsyncBatch
    from .client.async_task import AsyncTask as AsyncTask
    from .client.batch import Batch as Batch
    from .client.client import Client as Client
    from .client.courier import ClientClosed as ClientClosed
    from .client.feed import Event as Event
    from .client.local import LocalCluster as LocalCluster
    from .client.options import Retry as Retry
    from .client.outcome import CompletedTask as CompletedTask
    from .client.outcome import TaskCancelled as TaskCancelled
    from .client.reach import ExecResult as ExecResult
    from .client.task import Task as Task
    from .protocol.errors import Conflict as Conflict
    from .protocol.errors import Infeasible as Infeasible
    from .protocol.errors import Invalid as Invalid
    from .protocol.errors import NotAllowed as NotAllowed
    from .protocol.errors import NotFound as NotFound
    from .protocol.errors import QueueFull as QueueFull
    from .protocol.errors import Refused as Refused
    from .protocol.errors import RemudaError as RemudaError
    from .protocol.errors import ResultExpired as ResultExpired
    from .protocol.errors import TaskFailed as TaskFailed
    from .protocol.errors import Unreachable as Unreachable
    from .protocol.errors import ValueTooLarge as ValueTooLarge
    from .worker.current import current as current
    from .worker.files import File as File
    from .worker.values import Record as Record
    from .worker.values import register_type as register_type

    __version__: str

_ERRORS = (
    "Conflict",
    "Infeasible",
    "Invalid",
    "NotAllowed",
    "NotFound",
    "QueueFull",
    "Refused",
    "RemudaError",
    "ResultExpired",
    "TaskFailed",
    "Unreachable",
    "ValueTooLarge",
)
_HOMES = {
    "AsyncBatch": ".client.async_task",
    "AsyncClient": ".client.async_client",
    "AsyncTask": ".client.async_task",
    "Batch": ".client.batch",
    "Client": ".client.client",
    "ClientClosed": ".client.courier",
    "CompletedTask": ".client.outcome",
    "Event": ".client.feed",
    "ExecResult": ".client.reach",
    "File": ".worker.files",
    "LocalCluster": ".client.local",
    "Record": ".worker.values",
    "Retry": ".client.options",
    "Task": ".client.task",
    "TaskCancelled": ".client.outcome",
    "current": ".worker.current",
    "register_type": ".worker.values",
    **dict.fromkeys(_ERRORS, ".protocol.errors"),
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - all of them are text


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("remuda")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
