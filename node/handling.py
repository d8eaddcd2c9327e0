"""Which handlers does this node offer: its own, and those that its scheduler declares for it?

What the scheduler wants is written down: an agent that starts again takes its workers over and
loads what it is to load before anybody tells it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..config.logs import get_logger
from ..config.settings_node import HandlerSettings
from ..protocol.capabilities import HANDLERS_PER_NODE_MAX, Handler
from ..protocol.messages import HandlerOrders
from ..protocol.resources import format_bytes
from . import residents, retiring
from .interpreters import NotOffered
from .premises import Premises
from .state import State
from .terms import Terms

OWN, SCHEDULERS = "node", "scheduler"
UNTOLD = b"untold"
"""The digest of orders of a node that waits for some: it is none of any."""
FILE_BYTES_MAX = 4 << 20


@dataclass(slots=True)
class Handling:
    """Keep the settings of all handlers that are offered, by name, in `settings`.

    `own` are those of this node's configuration: they win over the scheduler's. `name` and
    `labels` are the node's; `problems` say of what the scheduler declares why it cannot be read.
    """

    state: State
    premises: Premises
    file: Path
    name: str
    labels: Mapping[str, str]
    own: Mapping[str, HandlerSettings]
    settings: dict[str, HandlerSettings] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Offer what this node was to offer when its last agent ended."""
        kept = _read(self.file)
        self.declared = kept.get("declared", {})
        orders = self.state.orders
        orders.disabled = kept.get("disabled", {})
        orders.reloaded = kept.get("reloaded", {})
        self._offer()

    def set_own(self, own: Mapping[str, HandlerSettings]) -> None:
        """Offer what this node's configuration declares now."""
        self.own = own
        self._offer()

    def on_welcome(self, declared: Mapping[str, Any], *, is_held: bool = False) -> None:
        """Take in what the scheduler declares for us; its orders follow.

        One that is held says what once it is released, also where that is nothing.
        """
        if is_held:
            self.state.orders.digest = self.state.orders.digest or UNTOLD
        elif declared != self.declared:
            self.declared = dict(declared)
            self._offer()
            self._write()

    def on_orders(self, message: HandlerOrders) -> None:
        """Take in what the scheduler declares for us, before the core takes in the rest."""
        if message.incarnation == self.state.incarnation:
            self.declared = dict(message.declared)
            self._offer()
            self.state.orders.is_news = True

    def keep(self) -> None:
        """Write down what is wanted of us, and what of it is done, when that is new."""
        if self.state.orders.is_news:
            self.state.orders.is_news = False
            self._write()

    def look(self) -> None:
        """Find out which handlers this node can serve now."""
        for name, wanted in self.settings.items():
            self._note(name, self._lack(wanted))

    def _note(self, name: str, why: str) -> None:
        before = self.state.unserved.get(name, "")
        if before == why:
            return
        self.state.unserved[name] = why
        retiring.say(self.state)
        if why:
            get_logger().warning("a handler cannot be served", handler=name, why=why)
        elif name in self.state.handlers:
            retiring.restore(self.state, name)

    def _lack(self, wanted: HandlerSettings) -> str:
        try:
            self.premises.interpreter(wanted.python or "", "")
            self.premises.secrets.variables(wanted.secrets)
        except NotOffered as error:
            return str(error)
        largest = max((card.memory_bytes for card in self.state.slots.cards.values()), default=0)
        if (wanted.vram_bytes or 0) > largest:
            has = f"the largest GPU has {format_bytes(largest)}" if largest else "there is no GPU"
            return f"it wants {format_bytes(wanted.vram_bytes or 0)} of VRAM, {has}"
        return ""

    def _offer(self) -> None:
        """Declare to the core what is new or changed, and withdraw what is gone."""
        wanted = self._chosen()
        for name in [name for name in self.state.handlers if name not in wanted]:
            self.settings.pop(name, None)
            self.state.unserved.pop(name, None)
            retiring.withdraw(self.state, name)
            retiring.say(self.state)
        for name, (source, settings) in wanted.items():
            if settings is None:
                self._note_unreadable(name)
                continue
            before = self.state.handlers.get(name)
            if self.settings.get(name) == settings and before is not None:
                self.state.handlers[name] = replace(before, source=source)
                continue
            self.settings[name] = settings
            stated = replace(settings.stated(name), source=source)
            terms = Terms(settings.keep_ns, settings.load_timeout_ns, settings.verify == "start")
            retiring.withdraw(self.state, name)
            self._note(name, self._lack(settings))
            retiring.redeclare(self.state, stated, terms)

    def _note_unreadable(self, name: str) -> None:
        self.settings.pop(name, None)
        retiring.withdraw(self.state, name)
        self._note(name, self.problems[name])
        unreadable = Handler(name, workers=0, on_demand=True, source=SCHEDULERS)
        residents.declare(self.state, unreadable)

    def _chosen(self) -> dict[str, tuple[str, HandlerSettings | None]]:
        """Return who declares each handler, and its settings; None where they cannot be read."""
        chosen: dict[str, tuple[str, HandlerSettings | None]] = {
            name: (OWN, each)
            for name, each in self.own.items()
            if each.selector.selects(self.name, self.labels)
        }
        self.problems = {}
        for name, document in self.declared.items():
            if name in chosen or len(chosen) >= HANDLERS_PER_NODE_MAX:
                continue
            try:
                chosen[name] = (SCHEDULERS, HandlerSettings.model_validate(document))
            except ValidationError as error:
                self.problems[name] = _in_short(error)
                chosen[name] = (SCHEDULERS, None)
        return chosen

    def _write(self) -> None:
        orders = self.state.orders
        document = {
            "declared": self.declared,
            "disabled": dict(orders.disabled),
            "reloaded": dict(orders.reloaded),
        }
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(document))
            temporary.replace(self.file)
        except OSError as error:  # the next agent hears it again
            get_logger().warning("handlers not written down", error=error.strerror)


def _in_short(error: ValidationError) -> str:
    """Say what this version cannot read of a handler's settings."""
    found = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, found["loc"]))
    return f"its settings cannot be read here: {key}: {found['msg']}: is remuda older here?"


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            return {}
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    keys = ("declared", "disabled", "reloaded")
    is_whole = isinstance(found, dict) and all(isinstance(found.get(key), dict) for key in keys)
    return found if is_whole else {}
