"""What operators ask of the configuration: set, reload, roll back; each is judged as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..config.applying import SCHEDULER, applies, is_for_admins
from ..config.changes import CHANGES_MAX, EVERYWHERE, Scoped, count, is_within
from ..config.load import combined
from ..config.problems import ConfigError
from ..config.schema import dotted
from ..config.sources import Read
from ..protocol import messages as m
from ..protocol.errors import Conflict, Invalid, NotAllowed, NotFound, Refused
from .access import Principal, Role
from .config_change import By, as_asked, differences, edited, read_edits, way_back
from .config_checks import check_edits, overriding
from .config_versions import RECORDED, Version
from .configuration import Configuration, Proposal
from .events import ConfigChanged, Now
from .view import View

KEY_BYTES = 16
EDITS_MAX = 200
PROBLEMS_TOLD = 5
SUBJECT_CHARS_MAX = 300
BY_SIGNAL = "SIGHUP"
Answer = dict[str, Any]


def change(
    view: View, message: m.ChangeConfig, principal: Principal, handle: int, now: Now
) -> Answer | ConfigChanged:
    """Judge a request: an answer at once, or what the core must hear; raises RemudaError."""
    configuration = view.configuration
    assert configuration is not None
    if len(message.key) != KEY_BYTES:
        raise Invalid(f"key: found {len(message.key)} bytes, it has {KEY_BYTES}", field="key")
    if known := _known(view, configuration, principal.name, message.key):
        return known
    newest = configuration.newest
    if message.if_version not in (0, newest.number):
        raise Conflict(
            f"the configuration is at version {newest.number} ({newest.cause} by "
            f"{newest.author}), not {message.if_version}: look with `remuda config diff "
            f"{message.if_version} {newest.number}`, then ask again",
            field="if_version",
        )
    by = By(principal.name, now.wall_ms, newest.number + 1)
    try:
        proposal = _proposed(view, configuration, message, by)
    except ConfigError as error:
        raise Invalid("; ".join(error.problems[:PROBLEMS_TOLD]), field=error.field) from error
    _check_rights(proposal, newest, principal)
    answer = _answer(view, configuration, proposal)
    is_same = not proposal.differences and proposal.version.changes == newest.changes
    if message.dry_run or (is_same and message.verb != "reload"):
        return {**answer, "version": newest.number, "dry_run": message.dry_run}
    return _accepted(configuration, proposal, principal.name, handle, answer)


def reload_on_signal(view: View, now: Now) -> ConfigChanged | str:
    """Read the files again, as SIGHUP asks; return what is wrong with them, or "" for no change."""
    configuration = view.configuration
    assert configuration is not None
    newest = configuration.newest
    by = By(BY_SIGNAL, now.wall_ms, newest.number + 1)
    try:
        read = configuration.sources.read()
        proposal = configuration.propose(by, "reload", newest.changes, read=read)
    except ConfigError as error:
        return "; ".join(error.problems)
    if not proposal.differences:
        configuration.read, configuration.loaded = proposal.read, proposal.loaded
        return ""
    answer = _answer(view, configuration, proposal)
    return _accepted(configuration, proposal, BY_SIGNAL, 0, answer)


def _known(
    view: View, configuration: Configuration, author: str, request_key: bytes
) -> Answer | None:
    """Return the answer to a request that came before."""
    if (answer := configuration.answers.get((author, request_key))) is not None:
        return answer
    version = view.config_versions.asked(author, request_key) if view.config_versions else None
    return None if version is None else _as_stored(version)


def _as_stored(version: Version) -> Answer:
    changed = [
        {**each._asdict(), "effect": applies(each.key).words} for each in version.differences
    ]
    return {"version": version.number, "changed": changed, "waiting": [],
            "notes": list(version.notes), "dry_run": False}  # fmt: skip


def _proposed(
    view: View, configuration: Configuration, message: m.ChangeConfig, by: By
) -> Proposal:
    newest = configuration.newest
    if message.verb == "set":
        if not 1 <= len(message.edits) <= EDITS_MAX:
            raise Invalid(
                f"edits: found {len(message.edits)}, allowed are 1 to {EDITS_MAX}", field="edits"
            )
        edits = read_edits(message.edits)
        check_edits(view, configuration, edits, by)
        changes = edited(newest.changes, edits, by)
        _check_count(changes)
        cause = "unset" if all(edit.unset for edit in edits) else "set"
        return _judged(configuration, by, cause, changes, message.key)
    if message.verb == "reload":
        read = configuration.sources.read()
        return configuration.propose(
            by, "reload", newest.changes, read=read, request_key=message.key, reloads=1,
            notes=_shadowed(configuration, read),
        )  # fmt: skip
    if message.verb == "rollback":
        return _rolled_back(view, configuration, message, by)
    raise Invalid(
        f"verb: found {message.verb[:64]!r}; allowed are set, reload, rollback", field="verb"
    )


def _judged(
    configuration: Configuration, by: By, cause: str, changes: Scoped, request_key: bytes
) -> Proposal:
    """Propose changes; what is wrong with them is said without who is just setting them."""
    try:
        return configuration.propose(by, cause, changes, request_key=request_key)
    except ConfigError as error:
        raise as_asked(error, by) from error


def _rolled_back(
    view: View, configuration: Configuration, message: m.ChangeConfig, by: By
) -> Proposal:
    number = message.to or _last_change(view, configuration).number - 1
    if not number:
        raise NotFound(
            "version 1 is the first: there is none before it to go back to", field="version"
        )
    target = find_version(view, configuration, number)
    loaded = combined(configuration.read, target.changes.get(EVERYWHERE))
    back = way_back(target, loaded, by)
    _check_count(back.changes)
    cause = f"rollback to {number}"
    return configuration.propose(by, cause, back.changes, request_key=message.key, notes=back.stays)


def _last_change(view: View, configuration: Configuration) -> Version:
    """Return the newest version but for reloads that found every file as it was."""
    version = configuration.newest
    while version.cause == "reload" and not version.differences and version.number > 1:
        version = find_version(view, configuration, version.number - 1)
    return version


def find_version(view: View, configuration: Configuration, number: int) -> Version:
    """Return an accepted version; raises NotFound with those that are kept."""
    newest = configuration.newest
    if number == newest.number:
        return newest
    found = view.config_versions.find(number) if view.config_versions else None
    if found is None:
        oldest = view.config_versions.oldest() if view.config_versions else 0
        raise NotFound(
            f"there is no version {number} of the configuration: kept are {oldest} to "
            f"{newest.number} (`remuda config history`)",
            field="version",
        )
    return found


def _check_count(changes: Scoped) -> None:
    if count(changes) > CHANGES_MAX:
        raise Refused(
            f"more than {CHANGES_MAX} values would be changed by `config set`: write them to "
            "files, or take some back with `remuda config unset`"
        )


def _check_rights(proposal: Proposal, before: Version, principal: Principal) -> None:
    """Raise NotAllowed where an operator would change what is for admins; files are the host's."""
    if principal.role is Role.ADMIN or proposal.version.cause == "reload":
        return
    mine = _changed_keys(proposal.version.changes, before.changes)
    if closed := [key for key in mine if is_for_admins(key)]:
        raise NotAllowed(
            f"{closed[0]}: only admins may change it, and the key {principal.name!r} has the role "
            f"{principal.role.value}",
            field=closed[0],
        )


def _changed_keys(after: Scoped, before: Scoped) -> list[str]:
    return [
        key
        for scope in sorted({*after, *before})
        for key in sorted({*after.get(scope, {}), *before.get(scope, {})})
        if after.get(scope, {}).get(key) != before.get(scope, {}).get(key)
    ]


def _answer(view: View, configuration: Configuration, proposal: Proposal) -> Answer:
    changed = [
        {**each._asdict(), "effect": _effect(each.node, each.key, proposal.now.waiting)}
        for each in proposal.differences
    ]
    return {
        "version": proposal.version.number,
        "changed": changed,
        "waiting": list(proposal.now.waiting),
        "notes": [*proposal.notes, *overriding(view, proposal.differences)],
        "dry_run": False,
    }


def _effect(node: str, key: str, waiting: Iterable[str]) -> str:
    """Say when a changed value takes effect."""
    how = applies(key)
    if not node and how.live_in:
        return "live"
    if not node and how.live and any(is_within(key, unit) for unit in waiting):
        return f"restart of the {SCHEDULER}: until then it would contradict what runs"
    is_waiting = any(is_within(key, unit) for unit in waiting)
    is_beside = not set(how.readers).difference(RECORDED)
    if not node and not how.live and SCHEDULER in how.readers and is_beside and not is_waiting:
        return "what runs already"
    return how.words


def _shadowed(configuration: Configuration, read: Read) -> list[str]:
    """Name values that files say anew and that have no effect, since an operator changed them."""
    mine = configuration.newest.changes.get(EVERYWHERE, {})
    known = configuration.read.weak.found
    return [
        f"{dotted(path)} of {leaf.origin} has no effect: it was changed "
        f"{mine[dotted(path)].source} (`remuda config unset {dotted(path)}`)"
        for path, leaf in read.weak.found.items()
        if dotted(path) in mine and (path not in known or known[path].value != leaf.value)
    ]


def _accepted(
    configuration: Configuration, proposal: Proposal, author: str, handle: int, answer: Answer
) -> ConfigChanged:
    version = proposal.version
    settings, wanted = configuration.accept(proposal)
    configuration.remember(author, version.request_key, answer)
    return ConfigChanged(
        handle, author, version.to_row(), settings, wanted, subject_of(version), m.Document(answer)
    )


def subject_of(version: Version) -> str:
    """Say in a line what a version changed; values stay out of it, some are private."""
    keys: Sequence[str] = [
        f"{each.key} on {each.node}" if each.node else each.key for each in version.differences
    ]
    text = ", ".join(dict.fromkeys(keys)) or "nothing changed"
    short = text if len(text) <= SUBJECT_CHARS_MAX else f"{text[:SUBJECT_CHARS_MAX]}..."
    return f"version {version.number}: {short}"


def compared(before: Version, after: Version) -> list[dict[str, Any]]:
    """Return what differs between two versions, as documents."""
    return [each._asdict() for each in differences(before, after)]
