"""Write docs/configuration.md from the settings models.

.venv/bin/python docs/generate_configuration.py            write it
.venv/bin/python docs/generate_configuration.py --check    exit 1 if it is stale
"""

import sys
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from remuda.config.applying import of_field
from remuda.config.contradictions import rules
from remuda.config.fields import Section, toml_key
from remuda.config.settings import (
    HandlerSettings,
    PolicySettings,
    PythonSettings,
    SecretSettings,
    Settings,
)
from remuda.config.written import written
from remuda.protocol.resources import BYTES_MAX, DURATION_S_MAX

PAGE = Path(__file__).resolve().with_name("configuration.md")
TABLES: dict[str, dict[str, type[Section]]] = {
    "policies": {"[policies.CLASS]": PolicySettings},
    "handlers": {"[handlers.NAME]": HandlerSettings},
    "pythons": {"[pythons.NAME]": PythonSettings},
    "secrets": {"[secrets.NAME]": SecretSettings},
}
UNBOUNDED = {BYTES_MAX, DURATION_S_MAX}
NOTE = "<!-- Written by docs/generate_configuration.py: change config/, then run it again. -->"
INTRODUCTION = """\
# Configuration

remuda is configured in TOML. Nothing has to be configured: `remuda up` runs with these defaults.

## Where a value comes from

From weakest to strongest; a stronger layer replaces single keys, not whole tables:

| layer | where |
|---|---|
| `defaults` | packaged with remuda: `config/defaults.toml`, with comments |
| `etc` | `/etc/remuda/*.toml`, in the order of their names |
| `profile` | `profiles/NAME.toml`, named by `--profile` or `REMUDA_PROFILE` (see below) |
| `home` | `$REMUDA_HOME/*.toml`, in the order of their names |
| `changed` | what operators changed with `remuda config set`, for all or with `--node` for one |
| `file` | the file that a daemon is given with `--config` |
| `env` | `REMUDA_SECTION__KEY`, as `REMUDA_SCHEDULER__LEASE=45s`; only names with `__` count |
| `option` | options of the command |

Environments differ by their profile alone: `dev`, `test` and `production` come with remuda. A file
of that name in `/etc/remuda/profiles` or `$REMUDA_HOME/profiles` is laid over the packaged one, or
makes a profile of your own.

`remuda config show` prints every value with its layer, `remuda config get KEY` one value.
In the environment the names of settings are in capitals; names that you choose yourself
(`REMUDA_TASKS__ENV__OMP_NUM_THREADS`, `REMUDA_HANDLERS__inpaint__VRAM`) are taken as they stand.
A list or a table is written there as in TOML.

## How values are written

- A size is `"512MiB"`, `"12GiB"` or `"80GB"` (`GiB` and `G`: 2^30, `GB`: 10^9); a bare number
  counts bytes.
- A duration is `"500ms"`, `"30s"`, `"2m"`, `"1h30m"` or `"7d"`; a bare number counts seconds.
- A path is absolute or starts with `~`.

An unknown key, a wrong type, a value out of bounds or a contradiction is an error that names file,
line and key, what was found and what is allowed; nothing starts with half a configuration.
`remuda config validate` finds such errors without a scheduler.
How values are changed while all runs, and taken back, is told in [changing.md](changing.md).

The column "takes effect" says what a change waits for: `live` ones hold at once, after
`remuda config set`, `remuda config reload` or SIGHUP; others when the daemon that it names starts
again.
"""


def main() -> None:
    """Write the page, or only compare it."""
    text = page()
    stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text
    if stale and "--check" in sys.argv[1:]:
        sys.exit(f"stale: docs/{PAGE.name}; run `.venv/bin/python docs/generate_configuration.py`")
    if stale:
        PAGE.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote docs/{PAGE.name}\n")


def page() -> str:
    """Return the whole page."""
    parts = [NOTE, INTRODUCTION, "## The keys\n"]
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            parts.append(section(f"[{name}]", annotation))
        else:
            parts += [section(title, model) for title, model in TABLES[name].items()]
    listed = "\n".join(f"- {rule}" for rule in rules())
    parts.append(f"## What must fit together\n\n{listed}\n")
    return "\n".join(parts)


def section(title: str, model: type[Section]) -> str:
    """Return the table of one section."""
    rows = [row(name, field, model) for name, field in model.model_fields.items()]
    head = f"### `{title}`\n\n{(model.__doc__ or '').splitlines()[0]}\n"
    return "\n".join(
        [
            head,
            "| key | default | allowed | takes effect | meaning |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def row(name: str, field: FieldInfo, model: type[Section]) -> str:
    """Return the line of one key."""
    default = "required" if field.default is PydanticUndefined else code(name, field.default)
    cells = (f"`{toml_key(name)}`", default, allowed(name, field), of_field(model, field).words)
    return f"| {' | '.join(cells)} | {field.description} |"


def code(name: str, value: object) -> str:
    """Return a value as it would stand in a file; what is unset has none."""
    text = written(name, value)
    return f"`{text}`" if text else ""


def allowed(name: str, field: FieldInfo) -> str:
    """Say in words what a key accepts."""
    annotation = without_none(field.annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f'`"{choice}"`' for choice in get_args(annotation))
    kind = kind_of(name, annotation)
    bounds = [*getattr(annotation, "__metadata__", ()), *field.metadata]
    lows = [limit for each in bounds for limit in limits(each, "ge")]
    highs = [limit for each in bounds for limit in limits(each, "le")]
    low, high = max(lows, default=None), min(highs, default=None)
    text = [kind]
    if low:
        text.append(f"from {code(name, low)}")
    if high is not None and high not in UNBOUNDED:
        text.append(f"to {code(name, high)}")
    return " ".join(text)


def limits(constraint: object, name: str) -> list[float]:
    """Collect a bound from a constraint, which may be nested in a field."""
    inner = [limit for each in getattr(constraint, "metadata", ()) for limit in limits(each, name)]
    found = getattr(constraint, name, None)
    return inner if found is None else [*inner, found]


def without_none(annotation: Any) -> Any:
    """Return what an optional key holds when it is set."""
    parts = [part for part in get_args(annotation) if part is not NoneType]
    return parts[0] if NoneType in get_args(annotation) else annotation


def kind_of(name: str, annotation: Any) -> str:
    """Name the kind of value."""
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    words = name.split("_")
    if "bytes" in words:
        return "size"
    if "s" in words:
        return "duration"
    kinds = {str: "text", int: "whole number", float: "number", Path: "path"}
    return {tuple: "list", dict: "table"}.get(get_origin(plain)) or kinds[plain]


if __name__ == "__main__":
    main()
