"""What the end of a worker means for the calls that it leaves, and what is said of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...worker import batches, failures, frames
from ...worker.frames import Failure, Outcome, WorkerEnded
from .call_watch import Culprit
from .open_calls import BATCH_DIED, BATCH_ENDED, OpenCalls


@dataclass(slots=True)
class WorkerEnd:
    """How a worker ends, as far as it is known.

    `code` is for the call that ran, unless that is the `culprit`, who has its own; `failure` (a
    packed Failure) is filled when the worker could not begin.
    """

    how: str = "died"
    code: str = "worker_died"
    culprit: Culprit | None = None
    failure: dict[str, str] = field(default_factory=dict)
    returncode: int | None = None

    def show_stack(self, stack: str) -> None:
        """Add where it was stuck when its time was over."""
        stack = stack[-frames.STACK_CHARS_MAX :]
        if self.culprit is not None:
            failure = self.culprit.failure._replace(traceback=stack)
            self.culprit = Culprit(self.culprit.key, failure)
        elif self.failure:
            self.failure["traceback"] = stack

    def outcomes(self, calls: OpenCalls, log_tail: str, memory_evidence: str) -> list[Outcome]:
        """Close the calls: what had begun is charged, the rest comes back."""
        text = f"the worker ended ({self.how}, {_exit_text(self.returncode)})"
        code, shown = self._kind(log_tail, memory_evidence)
        charged = Failure(code, "", text + shown, log_tail=log_tail)
        known = self.failure
        returned = Failure(known.get("code") or "worker_ended", "", known.get("message") or text)
        is_death = self.how == "died"
        together = charged._replace(code=BATCH_DIED if is_death else BATCH_ENDED)
        culprits = {}
        if self.culprit is not None:
            culprits[self.culprit.key] = self.culprit.failure._replace(log_tail=log_tail)
        return calls.close_all(charged, returned, together, culprits)

    def _kind(self, log_tail: str, memory_evidence: str) -> tuple[str, str]:
        """Return the code for the call that ran, and what shows it.

        A worker that was killed may have been too large; one that aborted wrote why at last.
        """
        if self.how == "died" and self.returncode == -signal.SIGKILL and memory_evidence:
            return failures.OUT_OF_MEMORY, f": {failures.KERNEL_SAYS[memory_evidence]}"
        if self.how == "died" and self.returncode == -signal.SIGABRT:
            code, words = failures.code_in(log_tail)
            if code:
                return code, f': its log ends with "{words}"'
        return self.code, ""

    def message(self, worker: str, log_tail: str, leftovers: int) -> WorkerEnded:
        """Say that the worker and its tree are gone."""
        return WorkerEnded(
            worker,
            self.how,
            self.returncode,
            log_tail=log_tail,
            leftovers=leftovers,
            failure=self.failure,
        )


def in_batches(outcomes: list[Outcome]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Pack outcomes as bodies of RESULTS frames, each with the keys that it answers."""
    for at in range(0, len(outcomes), frames.CALLS_MAX):
        chunk = outcomes[at : at + frames.CALLS_MAX]
        keys = [frames.join_key(one.task, one.attempt) for one in chunk]
        yield batches.pack_results(0, chunk), keys


def _exit_text(returncode: int | None) -> str:
    if returncode is None:
        return "never started"
    if returncode < 0:
        try:
            return f"signal {signal.Signals(-returncode).name}"
        except ValueError:  # a real-time signal has no name
            return f"signal {-returncode}"
    return f"exit status {returncode}"
