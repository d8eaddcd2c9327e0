"""A scheduler's core and journal with a configuration that can be changed, files included."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from remuda.config.applying import STORE
from remuda.config.home import Home
from remuda.config.sources import Sources
from remuda.config.store_config import Said, said_file, told_file, write_said
from remuda.config.tuning import Tuning, read_told
from remuda.protocol import messages as m
from remuda.protocol.errors import RemudaError
from remuda.scheduler import config_verbs
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.assembly import core_settings
from remuda.scheduler.configuration import start, wanted
from remuda.scheduler.events import ConfigChanged
from remuda.scheduler.records import Commit
from remuda.scheduler.store_tuning import StoreTuning

from .world import SimNode, World

ANA = Principal("ana", Role.ADMIN)
OLIVER = Principal("oliver", Role.OPERATOR)


class Viewed:
    """What the verbs and queries of the configuration read of a view."""

    def __init__(self, world: ConfiguredWorld) -> None:
        self.core = world.core
        self.registry = world.journal.registry
        self.configuration = world.configuration
        self.config_versions = world.journal.config
        self.loaded = world.configuration.loaded
        self.store = world.store_side


class ConfiguredWorld(World):
    """`set`, `unset`, `reload` and `rollback` return the answer, or raise what was refused."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        Home(self.home).run_dir.mkdir(exist_ok=True)
        self.store_side = SimpleNamespace(tuning=StoreTuning(Home(self.home), self.complain))
        self.sources = Sources(self.home, {}, dict(env or {}), folder / "no-etc")
        super().__init__(folder)
        self.begin()

    def begin(self, *, drop_changes: bool = False) -> None:
        """Take the configuration up as a daemon does that starts."""
        newest = self.journal.config.newest()
        self.configuration, is_new = start(
            self.sources, newest, core_settings, self.now.wall_ms, drop_changes=drop_changes
        )
        if is_new:
            self.journal.commit(Commit(config=[self.configuration.newest.to_row()]))
        self.core.settings = core_settings(self.configuration.running)
        self.core.wanted = wanted(self.configuration.newest)
        self.store_side.tuning.want(self.configuration.newest)

    def start_again(self, *, drop_changes: bool = False) -> None:
        self.restart()
        self.begin(drop_changes=drop_changes)

    def complain(self, what: str, about: str) -> None:
        raise AssertionError(f"{what}: {about}")

    def store_says(self, text: str = "") -> None:
        """Have a store whose file says this take up what it was told."""
        root = Home(self.home).state_dir / "store"
        root.mkdir(parents=True, exist_ok=True)
        file = root / "own.toml"
        file.write_text(text)
        sources = Sources(self.home, {}, {}, root / "no-etc", files=[file])
        tuning = Tuning.begin(STORE, sources, root)
        tuning.hear(read_told(told_file(Home(self.home))))
        write_said(said_file(Home(self.home)), Said(root, tuning.digest, tuning.report()))

    def write(self, text: str) -> None:
        """Replace the file of the home."""
        (self.home / "remuda.toml").write_text(text)

    def ask(
        self, verb: str, who: Principal = ANA, *, key: bytes = b"", **fields: Any
    ) -> dict[str, Any]:
        """Ask for a change and let its turn pass."""
        message = m.ChangeConfig(key or secrets.token_bytes(16), verb, **fields)
        view: Any = Viewed(self)
        made = config_verbs.change(view, message, who, 7, self.now)
        if not isinstance(made, ConfigChanged):
            return made
        self.replies.clear()
        self.step(made)
        self.configuration.commit()
        self.store_side.tuning.want(self.configuration.newest)
        (reply,) = self.replies
        assert isinstance(reply, m.Document)
        return reply.body

    def set(self, who: Principal = ANA, node: str = "", **values: Any) -> dict[str, Any]:
        """Set values: `scheduler__lease="20s"`."""
        edits = [
            {"key": key.replace("__", "."), "value": value, "node": node}
            for key, value in values.items()
        ]
        return self.ask("set", who, edits=edits)

    def unset(self, key: str, node: str = "") -> dict[str, Any]:
        return self.ask("set", edits=[{"key": key, "node": node}])

    def refusal(self, verb: str, who: Principal = ANA, **fields: Any) -> str:
        """Return why a change is refused; nothing may be different then."""
        before = (self.configuration.newest, self.configuration.running, self.core.settings)
        try:
            self.ask(verb, who, **fields)
        except RemudaError as error:
            after = (self.configuration.newest, self.configuration.running, self.core.settings)
            assert before == after
            return error.message
        raise AssertionError(f"{verb} {fields} was not refused")


class TunedNode(SimNode):
    """A node that goes by what it is told, unless `refusing` says why not."""

    refusing = ""
    told: m.Configure | None = None

    def take(self, message: m.Message) -> None:
        if isinstance(message, m.Configure) and not self.deaf:
            self.told = message
        super().take(message)

    def heartbeat(self) -> m.Heartbeat:
        said = super().heartbeat()
        if self.told is not None and not self.refusing:
            said.config_digest = self.told.digest
            said.config = {"version": self.told.version}
        elif self.told is not None:
            said.config = {"refused": self.told.digest, "why": self.refusing}
        return said
