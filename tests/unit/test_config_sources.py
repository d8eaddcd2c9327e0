"""Which layer is a profile, from which files, and what is wrong with a file?"""

import json
import tomllib
from pathlib import Path

import pytest

from remuda.cli.config_checks import problems_of
from remuda.cli.main import run
from remuda.config.layers import Layer
from remuda.config.load import load
from remuda.config.problems import ConfigError
from remuda.config.sources import PACKAGE, PROFILES

PACKAGED = sorted((PACKAGE / PROFILES).glob("*.toml"))


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "etc" / PROFILES).mkdir(parents=True)
    return tmp_path / "etc"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / PROFILES).mkdir(parents=True)
    return tmp_path / "home"


def test_dev_test_and_production_are_packaged() -> None:
    assert ["dev", "production", "test"] == [path.stem for path in PACKAGED]


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_packaged_profile_is_valid_and_changes_every_value_that_it_names(path, etc) -> None:
    loaded = load(env={}, etc=etc, profile=path.stem)
    plain = load(env={}, etc=etc)
    named = [f"{table}.{key}" for table, keys in tomllib.loads(path.read_text()).items()
             for key in keys]  # fmt: skip
    same = [key for key in named if loaded.get(key) == plain.get(key)]
    assert [] == [key for key in same if key not in {"logging.level"}]
    assert {Layer.PROFILE} == {loaded.origin(key).layer for key in named}


def test_a_profile_is_stronger_than_the_host_and_weaker_than_the_home(etc, home) -> None:
    (etc / "a.toml").write_text('[logging]\nlevel = "error"\nformat = "json"')
    (home / "a.toml").write_text('[logging]\nformat = "human"')
    (home / PROFILES / "mine.toml").write_text('[logging]\nlevel = "warning"\nformat = "auto"')
    found = load(home, env={"REMUDA_PROFILE": "mine"}, etc=etc).settings.logging
    assert ("warning", "human") == (found.level, found.format)


def test_a_profile_of_the_home_is_laid_over_the_packaged_one(etc, home) -> None:
    (home / PROFILES / "dev.toml").write_text('scheduler.retention_age = "2d"')
    found = load(home, env={}, etc=etc, profile="dev")
    assert (2 * 86_400, "debug") == (
        found.settings.scheduler.retention_age_s,
        found.settings.logging.level,
    )


def test_the_option_names_the_profile_before_the_environment(etc) -> None:
    assert "dev" == load(env={"REMUDA_PROFILE": "test"}, etc=etc, profile="dev").profile


@pytest.mark.parametrize("name", ["staging", "../dev", "a b"])
def test_a_profile_that_is_nowhere_is_refused_with_those_there_are(name, etc) -> None:
    with pytest.raises(ConfigError, match="known are dev, production, test"):
        load(env={}, etc=etc, profile=name)


def test_every_file_is_checked_and_each_mistake_is_told_with_its_line(etc, home) -> None:
    bad, broken = home / "bad.toml", home / "broken.toml"
    bad.write_text('[scheduler]\nleese = 3\nlease = "soon"\n')
    broken.write_text("x = [\n")
    found, read = problems_of(home, [bad, broken], "", etc)
    assert [f"{bad}:2: unknown key scheduler.leese: did you mean lease?",
            f"{broken}:1: is not TOML: Invalid value"] == found  # fmt: skip
    assert [str(bad), str(broken)] == read


def test_files_that_are_named_stand_in_for_those_of_the_home(etc, home) -> None:
    (home / "remuda.toml").write_text("leese = 1")
    good = home / "new.conf"
    good.write_text('scheduler.lease = "20s"')
    assert ([], [str(good)]) == problems_of(home, [good], "", etc)


def test_what_contradicts_a_file_of_the_host_is_found(etc, home) -> None:
    (etc / "a.toml").write_text('scheduler.heartbeat = "10s"\nscheduler.suspect_after = "20s"')
    (home / "a.toml").write_text("\n[scheduler]\nlease = '15s'")
    found, _ = problems_of(home, None, "", etc)
    assert any(f"{home}/a.toml:3: scheduler.lease" in each for each in found), found


def test_the_command_says_no_and_exits_1_for_a_configuration_that_is_not_valid(
    home, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("REMUDA_HOME", str(home))
    (home / "a.toml").write_text("[node]\ncpus = 'x'")
    assert 1 == run(["config", "validate", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert not told["valid"]
    assert [f"{home}/a.toml:2: node.cpus: found 'x'; it must be a whole number"] == told["problems"]
    (home / "a.toml").write_text("[node]\ncpus = 2")
    assert 0 == run(["config", "validate"])
