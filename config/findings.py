"""What a look at a host found: findings in words, each with what to do, and the report of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

TOPIC_CHARS, LEVEL_CHARS = 9, 8


class Level(Enum):
    """How bad a finding is; a SERIOUS one keeps a host from doing its work."""

    FINE = "fine"
    WARNING = "warning"
    SERIOUS = "serious"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one topic, in words, and what to do about it."""

    topic: str
    level: Level
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.topic}: {self.text}: {self.remedy}" if self.remedy else self.text


def fine(topic: str, text: str) -> Finding:
    return Finding(topic, Level.FINE, text)


def warning(topic: str, text: str, remedy: str) -> Finding:
    return Finding(topic, Level.WARNING, text, remedy)


def serious(topic: str, text: str, remedy: str) -> Finding:
    return Finding(topic, Level.SERIOUS, text, remedy)


def of_level(findings: Iterable[Finding], level: Level) -> list[Finding]:
    return [each for each in findings if each.level is level]


def render(findings: Sequence[Finding]) -> str:
    """Write the report: one line for each finding, and its remedy below."""
    lines = []
    for each in findings:
        lines.append(f"{each.level.value:{LEVEL_CHARS}} {each.topic:{TOPIC_CHARS}} {each.text}")
        if each.remedy:
            lines.append(f"{'':{LEVEL_CHARS}} {'':{TOPIC_CHARS}} -> {each.remedy}")
    return "\n".join(lines) + "\n"


def to_plain(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return the findings as texts only."""
    return [{**asdict(each), "level": each.level.value} for each in findings]
