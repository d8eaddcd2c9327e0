"""What was asked of nodes and is not answered yet: who waits for each answer, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from ..protocol.errors import QueueFull
from ..protocol.messages import Message

Asked = TypeVar("Asked", bound=Message)


class Told(NamedTuple):
    """The answer to a client's question, by the shell's handle of it."""

    handle: int
    message: Message


@dataclass(slots=True)
class Question(Generic[Asked]):
    """One question: `fallback` is what is answered when the node says nothing in time."""

    handle: int
    node: str
    asked: Asked
    deadline_ns: int
    fallback: Message


class Questions(Generic[Asked]):
    """Questions by the number that a node's answer carries, at most `most` at a time."""

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._open: dict[int, Question[Asked]] = {}

    def check_room(self) -> None:
        """Raise QueueFull when no more are taken."""
        if len(self._open) >= self._most:
            raise QueueFull(f"too many questions {self._what} are under way", retry_after_s=1.0)

    def add(self, number: int, question: Question[Asked]) -> None:
        """Take a question on; raises QueueFull."""
        self.check_room()
        self._open[number] = question

    def find(self, number: int, node: str = "") -> Question[Asked] | None:
        """Return an open question, with `node` only if that node was asked."""
        found = self._open.get(number)
        return None if found is None or node not in ("", found.node) else found

    def drop(self, number: int) -> None:
        """Forget a question that was answered."""
        del self._open[number]

    def expire(self, now_ns: int) -> list[Told]:
        """Answer what no node answered in time."""
        over = [number for number, each in self._open.items() if each.deadline_ns <= now_ns]
        return [
            Told(each.handle, each.fallback) for each in (self._open.pop(number) for number in over)
        ]
