"""Do daemons take their keys from the service manager, and only from it, before their own files?"""

import os
from pathlib import Path

import pytest

from remuda.config.credentials import handed_over, node_key, scheduler_key
from remuda.config.home import Home
from remuda.config.keys import (
    Identity,
    KeyFileError,
    ensure_key_pair,
    generate,
    load_key_pair,
    save_identity,
    save_key_pair,
)
from remuda.config.load import load
from remuda.node.naming import name_of
from remuda.protocol.errors import Invalid


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def test_a_key_that_was_handed_over_comes_before_the_homes(home: Home, credentials) -> None:
    own = ensure_key_pair(scheduler_key(home))
    save_key_pair(credentials / "scheduler.key", pair := generate())
    assert pair == ensure_key_pair(scheduler_key(home)) != own


def test_without_credentials_the_homes_keys_count(home: Home, monkeypatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert (home.key_file("scheduler"), home.key_file("node-n1")) == (
        scheduler_key(home),
        node_key(home, "n1"),
    )


def test_a_folder_that_is_not_absolute_hands_nothing_over(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scheduler.key").touch()
    assert handed_over("scheduler", {"CREDENTIALS_DIRECTORY": "."}) is None


def test_a_node_is_called_as_the_key_that_was_handed_over_says(home: Home, credentials) -> None:
    identity = Identity("gpu-7", "node", generate(), generate().public, "tcp://s:7700", "lab")
    save_identity(credentials / "node.key", identity)
    settings = load(home.root, env={}).settings
    assert ("gpu-7", credentials / "node.key") == (
        name_of(home, settings),
        node_key(home, "gpu-7"),
    )


def test_credentials_that_cannot_be_looked_at_are_named_and_no_other_key_is_taken(
    home: Home, monkeypatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/" + "x" * 5000)  # root may look everywhere else
    with pytest.raises(Invalid, match="cannot be read"):
        scheduler_key(home)


@pytest.mark.parametrize(("mode", "fine"), [(0o400, True), (0o440, True), (0o444, False)])
def test_the_group_bit_of_an_access_list_is_no_harm_but_others_are(credentials, mode, fine) -> None:
    path = credentials / "scheduler.key"
    save_key_pair(path, pair := generate())
    path.chmod(mode)
    if fine:
        assert pair == load_key_pair(path)
    else:
        with pytest.raises(KeyFileError, match="others have access"):
            load_key_pair(path)


def test_a_key_elsewhere_must_still_be_ours_alone(home: Home, credentials) -> None:
    path = home.key_file("scheduler")
    save_key_pair(path, generate())
    path.chmod(0o440)
    with pytest.raises(KeyFileError, match="others have access"):
        load_key_pair(path)
    assert os.environ["CREDENTIALS_DIRECTORY"] == str(credentials)
