"""Is nothing secret in what leaves a host with a bug report?"""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.cli import doctor_bundle, redaction
from remuda.client import configuring
from remuda.config.home import Home
from remuda.config.keys import generate, save_key_pair
from remuda.config.settings_redis import HIDDEN
from remuda.config.store_home import ensure_store_secret

CANARY = "canary-7d1f93"
CONFIGURATION = f"""
# a comment about nothing secret
[scheduler]
port = 7700
[redis]
url = "redis://:{CANARY}@cache:6379/0"
password = "{CANARY}"
password_file = "/etc/remuda/redis"
[tasks.env]
HOME = "{CANARY}"
"HF_TOKEN" = "{CANARY}"
[secrets]
HF = {{ file = "{CANARY}" }}
OTHER = [
  "{CANARY}",
]
[node]
labels = {{ zone = "a" }}
tasks.env.X = "{CANARY}"
"""


def test_a_configuration_keeps_its_keys_and_loses_its_secrets() -> None:
    found = redaction.redact_toml(CONFIGURATION)
    assert CANARY not in found
    for kept in ("port = 7700", 'password_file = "/etc/remuda/redis"', 'zone = "a"', "cache:6379"):
        assert kept in found


@pytest.mark.parametrize(
    "line",
    [
        f"environment: HF_TOKEN={CANARY} and more",
        f"'API_KEY': '{CANARY}'".replace("'", '"'),
        f"Authorization: Bearer {CANARY}",
        f"dialling redis://user:{CANARY}@cache:6379/0",
        f"joined by remuda1_{CANARY}abcdef",
        f"pushed with ghp_{CANARY}",
    ],
)
def test_a_line_of_a_log_loses_what_looks_secret(line: str) -> None:
    assert CANARY in line
    assert CANARY not in redaction.redact(line)


def test_a_line_without_secrets_is_left_alone() -> None:
    line = "2026-01-02T03:04:05Z info listening address=127.0.0.1 port=7700 tokens=5 keys=3"
    assert line == redaction.redact(line)


def test_the_secrets_of_this_home_are_known_whatever_stands_beside_them(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    pair = generate()
    save_key_pair(home.key_file("scheduler"), pair)
    shared = ensure_store_secret(home).hex()
    (home.keys_dir / "broken.key").write_text("not toml at all")
    known = redaction.known_secrets(home)
    text = redaction.redact(f"a {pair.secret} b {shared} c {pair.public}", known)
    assert (pair.secret in text, shared in text, pair.public in text) == (False, False, True)


def test_a_setting_that_waits_hides_what_still_runs_as_well(monkeypatch) -> None:
    row = {"key": "handlers.x.options.token", "value": CANARY, "written": CANARY, "running": CANARY}
    open_row = {"key": "scheduler.lease", "value": 30.0}
    body = {"entries": [dict(row), dict(open_row)]}
    monkeypatch.setattr(configuring, "show", lambda _link: body)
    hidden, shown = doctor_bundle._configuration(None)["entries"]
    assert {**dict.fromkeys(row, HIDDEN), "key": row["key"]} == hidden
    assert open_row == shown
