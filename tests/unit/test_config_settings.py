"""What can be configured, and that `defaults.toml` and the models say the same."""

import re
import tomllib
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest
from pydantic import ValidationError

import remuda.config.settings as settings_module
from remuda.config.contradictions import contradictions
from remuda.config.fields import Section, toml_key
from remuda.config.load import DEFAULTS_FILE, load
from remuda.config.problems import ConfigError
from remuda.config.settings import (
    HandlerSettings,
    NodeSettings,
    PolicySettings,
    PortPlan,
    PythonSettings,
    SecretSettings,
    Settings,
)

TEXT = DEFAULTS_FILE.read_text()
SECTIONS = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


NAMED = {"handlers": HandlerSettings, "pythons": PythonSettings, "secrets": SecretSettings}


def section_keys(text: str, pattern: str) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        if header := re.match(r"(?:# )?\[([\w.]+)\]", line):
            section = header[1]
        elif key := re.match(pattern, line):
            keys.setdefault(section, []).append(key[1])
    return keys


def test_the_packaged_defaults_equal_the_defaults_of_the_models(tmp_path):
    assert Settings() == load(env={}, etc=tmp_path).settings


@pytest.mark.parametrize("name", SECTIONS)
def test_the_packaged_defaults_name_every_key_of_the_models_once_and_in_order(name):
    written = section_keys(TEXT, r"(?:# )?([a-z_]+) = ")[name]
    assert [toml_key(field) for field in SECTIONS[name].model_fields] == written


@pytest.mark.parametrize(("name", "section"), NAMED.items())
def test_the_packaged_defaults_show_every_key_of_a_named_table(name, section):
    written = section_keys(TEXT, r"# ([a-z_]+) = ")[f"{name}.NAME"]
    assert [toml_key(field) for field in section.model_fields] == written


@pytest.mark.parametrize("name", SECTIONS)
def test_a_commented_key_of_the_packaged_defaults_is_one_without_a_default(name):
    unset = [
        toml_key(field)
        for field, info in SECTIONS[name].model_fields.items()
        if NoneType in get_args(info.annotation)
    ]
    assert unset == section_keys(TEXT, r"# ([a-z_]+) = ").get(name, [])


def test_no_two_fields_of_a_section_share_a_toml_key():
    for section in (*SECTIONS.values(), *NAMED.values(), PolicySettings):
        keys = [toml_key(name) for name in section.model_fields]
        assert sorted(set(keys)) == sorted(keys)


def test_every_setting_is_described():
    undescribed = [
        f"{section.__name__}.{name}"
        for section in (*SECTIONS.values(), *NAMED.values(), PolicySettings)
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert [] == undescribed


def test_the_defaults_contradict_nothing():
    assert [] == list(contradictions(Settings()))


def test_the_packaged_defaults_are_toml_without_surprises():
    assert {*SECTIONS, "policies"} == set(tomllib.loads(TEXT))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("heartbeat", "heartbeat_s"),
        ("memory", "memory_bytes"),
        ("output_max", "output_bytes_max"),
        ("backoff_min", "backoff_s_min"),
        ("gpu_ids", "gpu_ids"),
        ("offer_tries", "offer_tries"),
    ],
)
def test_a_toml_key_is_the_field_without_its_unit(written, name):
    assert written == toml_key(name)


def test_sizes_and_durations_are_read_with_their_units():
    node = NodeSettings(memory_bytes="12GiB", runner_idle_s="1h30m")
    assert (12 << 30, 5400.0) == (node.memory_bytes, node.runner_idle_s)


@pytest.mark.parametrize(
    "values",
    [
        {"cpus": "4"},
        {"cpus": True},
        {"memory_bytes": 1.5},
        {"memory_bytes": True},
        {"runner_idle_s": float("nan")},
        {"runner_idle_s": "soon"},
        {"runner_idle_s": False},
        {"runners_max": 0},
        {"gpus": "GPU-1"},
        {"labels": {"rack": 7}},
        {"python_path": ["relative/dir"]},
        {"gpu_ids": "pci"},
        {"name": "../x"},
        {"colour": "red"},
    ],
)
def test_a_wrong_value_is_refused(values):
    with pytest.raises(ValidationError):
        NodeSettings(**values)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().node.cpus = 4


def test_a_path_may_start_with_the_users_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert (Path("/home/ann/code"),) == NodeSettings(python_path=["~/code"]).python_path


def test_a_path_in_the_home_of_nobody_is_refused():
    with pytest.raises(ValidationError, match="home directory"):
        NodeSettings(lock_dir="~no-such-user-here/locks")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "either a file or a credential"),
        ({"file": "/etc/x", "credential": "x"}, "either a file or a credential"),
        ({"file": "x"}, "must be absolute"),
        ({"credential": "../x"}, "not a path"),
    ],
)
def test_a_secret_comes_from_one_place(fields, words):
    with pytest.raises(ValidationError, match=words):
        SecretSettings(**fields)


@pytest.mark.parametrize("target", ["photos", "photos:", ":x", "a b:c", "a:b()", "1a:b"])
def test_a_target_that_names_no_class_is_refused(target):
    with pytest.raises(ValidationError, match=r"package\.module:Class"):
        HandlerSettings(target=target)


def test_the_ports_follow_the_control_port():
    assert PortPlan(7700, 7701, 7702, 7703, 7710) == Settings().scheduler.ports()


def test_port_zero_leaves_every_port_to_the_kernel():
    scheduler = settings_module.SchedulerSettings(port=0)
    assert PortPlan(0, 0, 0, 0, 0) == scheduler.ports()


HUSH = "hush-9e107d"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{HUSH}@cache/0",
        f"redis://ann:{HUSH}@cache:99999/0",
        f"http://ann:{HUSH}@cache",
        f"redis://ann:{HUSH}/@x@cache/0",
        f"redis://cache/0?password={HUSH}",
        f"redis://:{HUSH}@cache/seven",
    ],
)
def test_the_password_of_a_redis_url_is_never_shown(tmp_path, url):
    file = tmp_path / "redis.toml"
    file.write_text(f'[redis]\nurl = "{url}"\npassword_file = "/nowhere"\n')
    with pytest.raises(ConfigError) as caught:  # each has a mistake, the first a contradiction
        load(env={}, etc=tmp_path)
    assert "redis.url" in str(caught.value)
    assert HUSH not in str(caught.value)
    shown = load(env={"REMUDA_REDIS__URL": f"redis://ann:{HUSH}@cache/0"}, etc=tmp_path / "none")
    (entry,) = [each for each in shown.entries() if each.key == "redis.url"]
    assert "redis://ann:[redacted]@cache/0" == entry.value
    assert '"redis://ann:[redacted]@cache/0"' == entry.text


@pytest.mark.parametrize(
    "url", ["redis://cache", "rediss://a:b@[::1]:1/3?ssl_ca_certs=/ca", "unix:///run/redis.sock"]
)
def test_a_redis_url_that_both_ends_can_dial_is_taken(tmp_path, url):
    assert url == load(env={"REMUDA_REDIS__URL": url}, etc=tmp_path).settings.redis.url


@pytest.mark.parametrize("url", ["cache:6379", "redis://", "unix://run/redis.sock", "redis://c/x"])
def test_a_redis_url_that_nobody_can_dial_is_refused(tmp_path, url):
    with pytest.raises(ConfigError, match=r"Redis URL|socket"):
        load(env={"REMUDA_REDIS__URL": url}, etc=tmp_path)
