"""How daemons log: one line per event, as JSON or for people, bounded, redacted, in UTC."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from .settings import LoggingSettings

ITEMS_MAX = 32  # of a list or a mapping in one value
DEPTH_MAX = 4
KEYS_MAX = 64  # of one line
TRACEBACK_BYTES_MAX = 16 << 10
LEADING_KEYS = ("at", "level", "daemon", "event")
REDACTED = "[redacted]"
_SECRET = re.compile(
    r"secret|passw|token|credential|authori[sz]ation|private|api_?key|cookie|(^|_)env$",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def configure_logs(settings: LoggingSettings, *, daemon: str, stream: TextIO | None = None) -> None:
    """Send the lines of structlog and of the standard logging to a stream (stderr).

    May be called again; the last call counts.
    """
    out = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _name(daemon),
        structlog.processors.format_exc_info,
        redact,
        _bounded(settings.value_bytes_max),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings, out),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    logging.captureWarnings(capture=True)


def get_logger(**values: object) -> structlog.stdlib.BoundLogger:
    """Make a logger whose lines all carry these values."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("remuda", **values)
    return logger


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace the values of keys that look like secrets, at any depth."""
    return {key: _redacted(key, value, DEPTH_MAX) for key, value in event.items()}


def _redacted(key: object, value: Any, depth: int) -> Any:
    if isinstance(key, str) and _SECRET.search(key):
        return REDACTED
    if depth and isinstance(value, Mapping):
        return {inner: _redacted(inner, each, depth - 1) for inner, each in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_redacted("", each, depth - 1) for each in value]
    return value


def _name(daemon: str) -> Processor:
    def add_daemon(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["daemon"] = daemon
        return event

    return add_daemon


def _bounded(value_bytes_max: int) -> Processor:
    def cut_values(_logger: object, _method: str, event: EventDict) -> EventDict:
        cut: MutableMapping[str, Any] = {}
        for key, value in list(event.items())[:KEYS_MAX]:
            bytes_max = TRACEBACK_BYTES_MAX if key == "exception" else value_bytes_max
            cut[key] = value if key.startswith("_") else bounded(value, bytes_max)
        if len(event) > KEYS_MAX:
            cut["keys_cut"] = len(event) - KEYS_MAX
        return cut

    return cut_values


def bounded(value: Any, bytes_max: int, depth: int = DEPTH_MAX) -> Any:
    """Cut a value to what a line may hold; what is cut says how much it was."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= 64 else f"<int of {value.bit_length()} bits>"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if depth and isinstance(value, Mapping):
        pairs = list(value.items())[:ITEMS_MAX]
        table = {
            cut_text(str(key), bytes_max): bounded(each, bytes_max, depth - 1)
            for key, each in pairs
        }
        return table | ({"...": len(value) - ITEMS_MAX} if len(value) > ITEMS_MAX else {})
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        items = [bounded(each, bytes_max, depth - 1) for each in list(value)[:ITEMS_MAX]]
        return items + ([f"... {len(value) - ITEMS_MAX} more"] if len(value) > ITEMS_MAX else [])
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        # The text of what is nested deeper could be of any length.
        return f"<{type(value).__name__} of {len(value)}>"
    return cut_text(value if isinstance(value, str) else _text(value), bytes_max)


def cut_text(text: str, bytes_max: int) -> str:
    """Keep the first bytes of a text and say how many it had."""
    if len(text) * 4 <= bytes_max:
        return text
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= bytes_max:
        return text
    return f"{encoded[:bytes_max].decode('utf-8', 'ignore')}... ({len(encoded)} bytes)"


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a foreign __str__ may raise anything; a log line must not
        return f"<{type(value).__name__}: its text failed with {type(error).__name__}>"


def _renderers(settings: LoggingSettings, out: TextIO) -> list[Processor]:
    if settings.format == "json" or (settings.format == "auto" and not out.isatty()):
        return [_first_things_first, structlog.processors.JSONRenderer()]
    return [_escape, structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="at")]


def _first_things_first(_logger: object, _method: str, event: EventDict) -> EventDict:
    leading = {key: event[key] for key in LEADING_KEYS if key in event}
    return {**leading, **event}


def _escape(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape what could forge a line or drive a terminal; JSON does so by itself."""
    return {
        key: "\n".join(_escaped(line) for line in value.split("\n"))
        if key == "exception" and isinstance(value, str)
        else _escaped(value)
        for key, value in event.items()
    }


def _escaped(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), value)
