"""What can go wrong, as one tree: each error says what happened and carries a stable code."""

from __future__ import annotations


class RemudaError(Exception):
    """The root of all errors of remuda.

    `code` is stable and travels on the wire; `field` names the input at fault, if one is;
    `retry_after_s` says when to try again, if that can help.
    """

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, field: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s


class Unreachable(RemudaError):  # noqa: N818 - the public names read as outcomes
    """The scheduler did not answer in time, or refused our key."""

    code = "unreachable"
    exit_code = 5


class Refused(RemudaError):  # noqa: N818
    """The scheduler understood the request and will not do it."""

    code = "refused"
    exit_code = 4


class Invalid(Refused):
    """The request contradicts itself or breaks a limit; `field` says where."""

    code = "invalid"


class ValueTooLarge(Invalid):
    """An argument or a result is larger than what travels inline."""

    code = "value_too_large"


class NotAllowed(Refused):
    """The key's role does not include this request."""

    code = "not_allowed"


class Infeasible(Refused):
    """No known node could ever run this task."""

    code = "infeasible"


class ForeignProtocol(Refused):
    """The other side speaks another version of the protocol."""

    code = "foreign_protocol"


class NotFound(RemudaError):  # noqa: N818
    """There is no such thing, or no longer."""

    code = "not_found"
    exit_code = 3


class ResultExpired(NotFound):
    """The task has ended, and what was known of it has expired or was pruned."""

    code = "result_expired"


class QueueFull(RemudaError):  # noqa: N818
    """The queue is at its limit; `retry_after_s` says when to try again."""

    code = "queue_full"
    exit_code = 75


class DiskFull(QueueFull):
    """The disk of the scheduler is full, or nearly: it takes no task in until there is room."""

    code = "disk_full"


class Conflict(RemudaError):  # noqa: N818
    """The thing is in a state that does not allow this, or the name is taken."""

    code = "conflict"


class TaskFailed(RemudaError):  # noqa: N818
    """A task ended without success.

    `task_id`, `task_code` (as `exit_code`, `exception`, `timeout`, ...), `node`, `attempt`,
    `log_tail` and, for a command, `returncode` tell the story; `traceback` is the remote one.
    """

    code = "task_failed"

    def __init__(
        self,
        message: str,
        *,
        task_id: str = "",
        task_code: str = "",
        node: str = "",
        attempt: int = 0,
        log_tail: str = "",
        traceback: str = "",
        returncode: int | None = None,
    ) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.task_code = task_code
        self.node = node
        self.attempt = attempt
        self.log_tail = log_tail
        self.traceback = traceback
        self.returncode = returncode


class MalformedFrame(RemudaError):  # noqa: N818
    """Bytes on a socket are not a frame of ours."""

    code = "malformed"


class UnknownMessage(RemudaError):  # noqa: N818
    """A frame of ours carries a type that this version does not know."""

    code = "unknown_message"


_BY_CODE: dict[str, type[RemudaError]] = {
    kind.code: kind
    for kind in (
        RemudaError,
        Unreachable,
        Refused,
        Invalid,
        ValueTooLarge,
        NotAllowed,
        Infeasible,
        ForeignProtocol,
        NotFound,
        ResultExpired,
        QueueFull,
        DiskFull,
        Conflict,
        MalformedFrame,
        UnknownMessage,
    )
}


def from_wire(
    code: str, message: str, *, field: str = "", retry_after_s: float = 0.0
) -> RemudaError:
    """Build the error that a reply names; an unknown code gives the root with that code."""
    error = _BY_CODE.get(code, RemudaError)(message, field=field, retry_after_s=retry_after_s)
    error.code = code
    return error
