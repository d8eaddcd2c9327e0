"""Is everything as it should be, on this host and in the cluster that is meant?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import screen
from .commands import Session, command
from .writing import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config.findings import Finding
    from ..config.home import Home
    from .doctor_daemons import Section

FINE, FOUND = 0, 1
STYLES = {"fine": "dim", "warning": "yellow", "serious": "bold red"}


@command(
    "doctor",
    example=(
        "remuda doctor\n"
        "remuda doctor --quiet                                  # only what is wrong\n"
        "sudo -u remuda remuda doctor --home /var/lib/remuda    # daemons that systemd runs\n"
        "remuda doctor --bundle report.tar.gz                   # for a bug report"
    ),
)
def doctor(
    session: Session,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also collect findings, versions, configuration, state and logs into a tar.gz, "
            "without secrets.",
        ),
    ] = None,
) -> int:
    """Examine this host, the daemons on it and the cluster: what is wrong, and what to do.

    Nothing is changed. Exit code 0: all is fine, 1: there are findings.
    """
    from .doctor_bundle import check_new
    from .doctor_cluster import knows_none
    from .doctor_daemons import home_meant

    home = home_meant(session)
    if home is not None and knows_none(session):
        session = replace(session, home=home.root)  # of the services: root has no other cluster
    if bundle is not None:
        check_new(bundle)
    sections = []
    for section in _sections(session, home):
        sections.append(section)
        if not session.json:
            _print(section, only_bad=session.quiet)
    if bundle is not None:
        _bundle(session, sections, bundle)
    bad = [each for section in sections for each in section.findings if not _is_fine(each)]
    if session.json:
        screen.document(to_rows(sections))
    elif not session.quiet:
        screen.line(_verdict(bad))
    return FOUND if bad else FINE


def to_rows(sections: list[Section]) -> list[dict[str, Any]]:
    """Return one row for each finding."""
    from ..config.findings import to_plain

    return [
        {"part": section.title, **row} for section in sections for row in to_plain(section.findings)
    ]


def _sections(session: Session, home: Home | None) -> Iterator[Section]:
    """Look at one part after the other, so that each is shown as soon as it is known."""
    from . import doctor_cluster, doctor_daemons

    host = doctor_daemons.this_host()
    yield host
    if home is not None:
        yield from doctor_daemons.daemons(home, host.findings)
    yield from doctor_cluster.cluster(session, has_daemons=home is not None)


def _print(section: Section, *, only_bad: bool) -> None:
    shown = [each for each in section.findings if not (only_bad and _is_fine(each))]
    if not shown:
        return
    screen.line(section.title)
    for each in shown:
        _print_finding(each)
    screen.line()


def _print_finding(each: Finding) -> None:
    from rich.text import Text

    from ..config.findings import LEVEL_CHARS, TOPIC_CHARS

    word = each.level.value
    line = Text(f"  {word:{LEVEL_CHARS}} ", STYLES[word])
    line.append(f"{each.topic:{TOPIC_CHARS}} ", "bold" if not _is_fine(each) else "")
    line.append(each.text)
    screen.console().print(line, soft_wrap=True)
    if each.remedy:
        screen.line(f"  {'':{LEVEL_CHARS}} {'':{TOPIC_CHARS}} -> {each.remedy}")


def _is_fine(each: Finding) -> bool:
    return each.level.value == "fine"


def _verdict(bad: list[Finding]) -> str:
    if not bad:
        return "all is fine"
    serious = sum(each.level.value == "serious" for each in bad)
    return counted(len(bad), "finding") + (f", {serious} serious" if serious else ", none serious")


def _bundle(session: Session, sections: list[Section], path: Path) -> None:
    from ..protocol.resources import format_bytes
    from .doctor_bundle import write_bundle

    names, size = write_bundle(session, to_rows(sections), path)
    screen.remark(
        f"wrote {path} ({format_bytes(size)}, {counted(len(names), 'file')}): secrets are removed "
        f"as far as we know them; `tar -tzf {path}` lists it, look before you send it"
    )
