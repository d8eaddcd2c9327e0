"""Which limits the agent sets apart from orders: of the next calls, of fences, of patience."""

from __future__ import annotations

from collections.abc import Callable

from ...worker import frames
from ...worker.asks import Attach, CallLimits, Renew
from ...worker.frames import Message
from .call_watch import formed
from .open_calls import CallLimit
from .outbox import Outbox
from .slot import Slot


class Limits:
    """Keeps what was said until it applies. `unkillable_after_s` 0: nobody wants to hear of it."""

    def __init__(self, slot: Slot, outbox: Outbox) -> None:
        self.unkillable_after_s = 0.0
        self._slot = slot
        self._outbox = outbox
        self._of_next: dict[bytes, CallLimit] = {}
        self.handlers: dict[type, Callable[[Message], None]] = {
            Attach: self._on_attach,
            CallLimits: self._on_call_limits,
            Renew: self._on_renew,
        }

    def forget(self) -> None:
        """Begin with another agent: it says what it wants itself."""
        self.unkillable_after_s = 0.0
        self._of_next = {}

    def take(self) -> dict[bytes, CallLimit]:
        """Return the limits of the batch that has come, once."""
        found, self._of_next = self._of_next, {}
        return found

    def _on_attach(self, message: Message) -> None:
        assert isinstance(message, Attach)
        self.unkillable_after_s = float(message.unkillable_after_s)
        self._outbox.agent_protocol = int(message.protocol)
        worker = self._slot.worker
        if worker is not None and worker.order.max_batch > 1:
            self._outbox.say(formed(worker.calls.running()))

    def _on_call_limits(self, message: Message) -> None:
        assert isinstance(message, CallLimits)
        for task, attempt, silence_ms, fence_boot_ns in message.rows[: frames.CALLS_MAX]:
            key = frames.join_key(bytes.fromhex(str(task)), int(str(attempt)))
            self._of_next[key] = CallLimit(int(str(silence_ms)), int(str(fence_boot_ns)))

    def _on_renew(self, message: Message) -> None:
        assert isinstance(message, Renew)
        command, worker = self._slot.command, self._slot.worker
        if command is not None:
            command.limits.fence.renew(int(message.fence_boot_ns))
        elif worker is not None:
            worker.calls.renew(int(message.fence_boot_ns))
