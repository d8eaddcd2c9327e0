"""Which skipped tests are expected: in CI every other skip fails the session."""

import os
import re

import pytest
from hypothesis import settings

# CI draws the same examples each time, so that it fails for what changed; elsewhere chance hunts.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("house", deadline=None)  # how long one takes says how busy the host is
settings.load_profile("ci" if os.environ.get("CI") == "true" else "house")

# Reason of a skip (a pattern for its whole text) -> why CI accepts it.
SKIPS_EXPECTED = {
    r"no NVIDIA GPU.*": "CI machines have none; the scripted NVML covers the logic",
    r"no right to make a mount namespace": "boot ids are covered by the tests of the cores",
    r"no right to mount a tmpfs": "the same tests run on a disk that is full for SQLite alone",
    r"no version 1 memory group.*": "few may limit memory; units test what the counts mean",
    r"no version 1 freezer.*": "nothing else makes a process that KILL does not end",
    r"no autogroups in this kernel": "niceness alone counts there, which is tested everywhere",
    r"no hosts of their own here: .*": "few may make namespaces; one host shows the same",
    r"no git history that reaches back to .*": "an export of the tree has none; clones do",
    r"no right to add users to this host": "only root may; units test what the helper may do",
    r"no systemd of our own here: .*": "few may make namespaces; fake managers show the words",
    r"no OpenSSH server.*": "CI installs one; the scripted ssh covers the logic",
    r"no hadolint on this machine": "a binary of its own; the file is short and read by tests",
    r"no PyYAML on this machine": "nothing of ours needs it; other tests read the file as text",
    r"no systemd-analyze.*": "containers come without systemd; other tests read the units",
    r"no Python 3\.\d+ on this host": "tests/tidy judges what is too new for the worker's side",
    r"no (zsh|fish) on this host": "bin/test could not install it; bash is everywhere",
    r"no PyTorch in .*": "bin/test could not install it; its adapter is tested where it is",
    r"no redis-server: .*": "bin/test could not install it; without a server there is no mirror",
}

_unexpected: list[str] = []


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = _reason(report)
    line = f"{report.nodeid}: {reason}"
    if not any(re.fullmatch(known, reason) for known in SKIPS_EXPECTED) and line not in _unexpected:
        _unexpected.append(line)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def _judged(config: pytest.Config) -> bool:
    """Tell whether this process judges skips: in CI, and not a worker of xdist."""
    return os.environ.get("CI") == "true" and not hasattr(config, "workerinput")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unexpected and _judged(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _unexpected and _judged(terminalreporter.config):
        terminalreporter.section("unexpected skips fail in CI", red=True)
        for line in _unexpected:
            terminalreporter.line(line)
        terminalreporter.line(
            "Provide what the test needs, or list the reason in tests/conftest.py."
        )
