"""How is a command declared, and which options do all commands share?

`@command("task list", example="remuda task list --active")` registers a function. Its first
parameter is the Session; a parameter whose type is a dataclass stands for one option per field, so
that commands share bundles of options. What it returns is the exit code (None: 0).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from . import completing

if TYPE_CHECKING:
    from ..client.connection import Connection

CONNECTION_PANEL = (
    "Which cluster: --home DIR, --cluster NAME or --endpoint URL, else the environment."
)


@dataclass(slots=True)
class Session:
    """What every command takes: which cluster is meant, and how to answer."""

    home: Annotated[
        Path | None,
        typer.Option("--home", metavar="DIR", help="The home of a cluster.", hidden=True),
    ] = None
    cluster: Annotated[
        str | None, typer.Option(metavar="NAME", help="A cluster we logged in to.", hidden=True)
    ] = None
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Its control port: tcp://host:7700.", hidden=True),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print ids only, and no remarks.")
    ] = False

    def connect(self) -> Connection:
        """Open a connection to the cluster that is meant; raises Unreachable or NotFound."""
        from ..client.connection import open_connection

        return open_connection(home=self.home, cluster=self.cluster, endpoint=self.endpoint)

    def over(self, root: Session) -> Session:
        """Lay the options given behind a command over those given before it."""
        values = {
            field.name: getattr(self, field.name) or getattr(root, field.name)
            for field in dataclasses.fields(self)
        }
        return Session(**values)


class ReaderGone(Exception):  # noqa: N818 - not an error
    """Whoever read our output has gone, as in `remuda logs last | head`."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A registered command, ready to be added to an app."""

    words: tuple[str, ...]
    function: Callable[..., Any]
    summary: str
    epilog: str
    settings: dict[str, Any]
    hidden: bool


F = TypeVar("F", bound=Callable[..., Any])
_declared: dict[tuple[str, ...], Declared] = {}


def command(
    name: str,
    *,
    example: str,
    tail: bool = False,
    hidden: bool = False,
    which: str = CONNECTION_PANEL,
) -> Callable[[F], F]:
    """Register a command; with `tail` everything from its first argument on is an argument."""

    def register(function: F) -> F:
        words = tuple(name.split())
        settings: dict[str, Any] = {"allow_interspersed_args": False} if tail else {}
        lines = "\n".join(f"  {line}" for line in example.splitlines())
        _declared[words] = Declared(
            words,
            _expanded(function, words),
            inspect.cleandoc(function.__doc__ or ""),
            f"\b\nExample:\n{lines}\n\n{which}",
            settings,
            hidden,
        )
        return function

    return register


def declared() -> list[Declared]:
    """List what has been registered, in order."""
    return list(_declared.values())


def root_options(show_version: Callable[[], None]) -> Callable[..., None]:
    """Return what takes the options given before a command."""

    def call(context: typer.Context, version: bool, **values: Any) -> None:
        context.obj = Session(**values)
        if version:
            show_version()
            raise typer.Exit
        if context.invoked_subcommand is None:
            raise typer.BadParameter("a command is missing")

    version = typer.Option("--version", help="Print the version.", is_eager=True)
    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter(
            "version",
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[bool, version],
            default=False,
        ),
        *_options_of(Session),
    ]
    return _with_signature(call, parameters)


def _expanded(function: Callable[..., Any], words: tuple[str, ...]) -> Callable[..., Any]:
    """Wrap a command so that bundles of options become single ones."""
    hints = get_type_hints(function, include_extras=True)
    bundles: dict[str, type[Any]] = {}
    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    ]
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            bundles[parameter.name] = kind
            continue
        parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
    session = bundles["session"]
    for kind in (*(k for k in bundles.values() if k is not session), session):
        parameters += _options_of(kind)
    completing.attach(parameters, words)

    def call(context: typer.Context, **values: Any) -> Any:
        made: dict[str, Any] = {}
        for name, kind in bundles.items():
            fields = [field.name for field in dataclasses.fields(kind)]
            made[name] = kind(**{field: values.pop(field) for field in fields})
        made["session"] = made["session"].over(context.find_root().obj or Session())
        try:
            return function(**made, **values)
        except BrokenPipeError as error:
            raise ReaderGone from error  # typer would make an exit code of its own of it

    return _with_signature(call, parameters)


def _with_signature(
    call: Callable[..., Any], parameters: list[inspect.Parameter]
) -> Callable[..., Any]:
    """Let typer see options that a function takes as `**values`."""
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # an attribute of functions that typeshed leaves out
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def _options_of(kind: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[field.name],
            default=field.default,
        )
        for field in dataclasses.fields(kind)
    ]
