"""When does a changed setting take effect, and in which daemon? What cannot yet, waits.

A setting is live only where it says so. Values that would contradict what a daemon still runs with
wait with it: at every moment what is in force is a configuration that was checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic.fields import FieldInfo

from .contradictions import contradictions
from .fields import Section
from .schema import dotted, field_at, is_section, split_key
from .settings import Settings
from .toml_lines import KeyPath

SCHEDULER, NODE, STORE = "scheduler", "node", "store"
CLIENT = "client"
"""Which reads files alone; daemons hear of changes."""

# What runs programs, opens files or doors with the rights of a daemon: more than work on nodes.
ADMIN_TABLES = ("handlers", "metrics", "pythons", "redis", "secrets")
ADMIN_KEYS = (
    "gpus.trial",
    "node.lock_dir",
    "node.nvml",
    "node.python_path",
    "node.run_as",
    "node.run_as_others",
    "node.run_as_socket",
    "scheduler.listen",
    "scheduler.port",
    "tasks.env",
)


@dataclass(frozen=True, slots=True)
class Applies:
    """Which daemons read a setting, whether it is live, and whether only files may say it.

    `live_in` names daemons in which it is, where it is not so in all.
    """

    readers: tuple[str, ...]
    live: bool
    fixed: bool
    live_in: tuple[str, ...] = ()

    @property
    def is_changeable(self) -> bool:
        """Tell whether `config set` may change it."""
        return not self.fixed and self.readers != (CLIENT,)

    @property
    def words(self) -> str:
        """Say when a change takes effect, for people."""
        if self.readers == (CLIENT,):
            return "new clients"
        if self.live:
            return "live"
        late = " and ".join(who for who in self.readers if who not in self.live_in)
        restart = f"restart of the {late}{', from files' * self.fixed}"
        return f"live in the {' and '.join(self.live_in)}; {restart}" if self.live_in else restart

    def is_live(self, daemon: str) -> bool:
        """Tell whether a change takes effect at once in a daemon."""
        return self.live or daemon in self.live_in


def applies(key: str) -> Applies:
    """Say how a setting takes effect; raises UnknownKeyError for a key that there is not."""
    return of_path(field_at(split_key(key))[0])


def of_path(names: KeyPath) -> Applies:
    """Say how the setting, or the table, at a path of attributes takes effect."""
    section = section_of(names[0])
    fields = section.model_fields
    is_table = len(names) == 1 or not is_section(Settings.model_fields[names[0]].annotation)
    chosen = list(fields) if is_table else [names[1]]
    each = [of_field(section, fields[name]) for name in chosen]
    readers = {one.readers for one in each}
    return Applies(
        readers.pop() if len(readers) == 1 else section.READERS,
        all(one.live for one in each),
        all(one.fixed for one in each),
        section.LIVE_IN,
    )


def of_field(section: type[Section], field: FieldInfo) -> Applies:
    """Say how one key of a table takes effect."""
    extra = field.json_schema_extra
    said: Mapping[str, Any] = extra if isinstance(extra, dict) else {}
    readers = tuple(str(said["of"]).split()) if "of" in said else section.READERS
    return Applies(readers, bool(said.get("live")), bool(said.get("fixed")), section.LIVE_IN)


def section_of(name: str) -> type[Section]:
    """Return the model of a table of the configuration, or of each of its tables."""
    annotation: Any = Settings.model_fields[name].annotation
    section: type[Section] = annotation if is_section(annotation) else get_args(annotation)[1]
    return section


def is_for_admins(key: str) -> bool:
    """Tell whether only admins may change a setting."""
    closed = (*ADMIN_TABLES, *ADMIN_KEYS)
    return any(key == each or key.startswith(f"{each}.") for each in closed)


@dataclass(frozen=True, slots=True)
class InForce:
    """What a daemon goes by now, and which settings of what it was told wait for its restart."""

    settings: Settings
    waiting: tuple[str, ...] = ()


def in_force(running: Settings, wanted: Settings, daemon: str) -> InForce:
    """Take what is live of the wanted settings, as far as that fits what runs on."""
    mixed = running
    taken: dict[KeyPath, None] = {}
    waiting: dict[KeyPath, None] = {}
    for unit in units():
        value = _value(wanted, unit)
        if value == _value(running, unit):
            continue
        how = of_path(unit)
        if how.is_live(daemon) or daemon not in how.readers:
            mixed, taken[unit] = _with(mixed, unit, value), None
        else:
            waiting[unit] = None
    while broken := [key for rule in contradictions(mixed) for key in rule.keys if key in taken]:
        for unit in dict.fromkeys(broken):
            del taken[unit]
            waiting[unit] = None
            mixed = _with(mixed, unit, _value(running, unit))
    mine = [dotted(unit) for unit in units() if unit in waiting and daemon in of_path(unit).readers]
    return InForce(mixed, tuple(mine))


def units() -> Iterator[KeyPath]:
    """Yield what takes effect as a whole: each field of a table, and each table of free names."""
    for name, field in Settings.model_fields.items():
        if is_section(field.annotation):
            yield from ((name, inner) for inner in section_of(name).model_fields)
        else:
            yield (name,)


def _value(settings: Settings, unit: KeyPath) -> Any:
    value: Any = settings
    for name in unit:
        value = getattr(value, name)
    return value


def _with(settings: Settings, unit: KeyPath, value: Any) -> Settings:
    if len(unit) > 1:
        table: Section = getattr(settings, unit[0])
        value = table.model_copy(update={unit[1]: value})
    return settings.model_copy(update={unit[0]: value})
