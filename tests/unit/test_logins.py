"""Do the clusters of one user stand side by side, and is the one that was chosen the one meant?"""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.config import logins
from remuda.config.cluster import connection, find_cluster
from remuda.config.invitation import Invitation
from remuda.config.keys import Identity, generate, save_identity
from remuda.protocol.errors import Conflict, Invalid, NotFound

LAB, FARM = generate(), generate()


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Log in to two clusters."""
    made = {"HOME": str(tmp_path)}
    logins.identities_dir(made).mkdir(parents=True)
    for name, scheduler in (("lab", LAB), ("farm", FARM)):
        you = Identity("anna", "submit", generate(), scheduler.public, f"tcp://{name}:7700", name)
        save_identity(logins.identities_dir(made) / f"{name}.key", you)
    return made


def meant(env: dict[str, str], tmp_path: Path, **options: str) -> str:
    return connection(find_cluster(env=env, etc=tmp_path, **options)).endpoint  # type: ignore[arg-type]  # options are texts here


def test_what_was_logged_in_to_is_listed(env: dict[str, str]) -> None:
    assert (["farm", "lab"], "") == (logins.names(env), logins.current(env))


def test_the_chosen_cluster_is_meant_where_nothing_else_is_said(
    env: dict[str, str], tmp_path: Path
) -> None:
    logins.use("lab", env)
    assert "tcp://lab:7700" == meant(env, tmp_path)
    logins.use("farm", env)
    assert "tcp://farm:7700" == meant(env, tmp_path)


def test_option_and_environment_are_stronger_than_the_choice(
    env: dict[str, str], tmp_path: Path
) -> None:
    logins.use("lab", env)
    assert "tcp://farm:7700" == meant(env, tmp_path, cluster="farm")
    assert "tcp://farm:7700" == meant(env | {"REMUDA_CLUSTER": "farm"}, tmp_path)
    assert "option" == find_cluster(home=tmp_path, env=env).source


def test_the_choice_is_stronger_than_the_identity_of_the_host(
    env: dict[str, str], tmp_path: Path
) -> None:
    host = Identity("host", "viewer", generate(), FARM.public, "tcp://host:7700", "host")
    save_identity(tmp_path / "client.key", host)
    assert "tcp://host:7700" == meant(env, tmp_path)
    logins.use("lab", env)
    assert "tcp://lab:7700" == meant(env, tmp_path)


def test_without_a_choice_the_host_is_meant_again(env: dict[str, str], tmp_path: Path) -> None:
    logins.use("lab", env)
    logins.use_none(env)
    assert "default" == find_cluster(env=env, etc=tmp_path).source


@pytest.mark.parametrize("name", ["nope", "../lab", "a/b", "current"])
def test_a_cluster_that_nobody_logged_in_to_cannot_be_chosen(
    env: dict[str, str], name: str
) -> None:
    with pytest.raises(NotFound, match="known are farm, lab: `remuda login LINE`"):
        logins.use(name, env)


def test_a_cluster_that_is_forgotten_is_no_longer_meant(
    env: dict[str, str], tmp_path: Path
) -> None:
    logins.use("lab", env)
    logins.forget("lab", env)
    assert (["farm"], "") == (logins.names(env), logins.current(env))
    assert "default" == find_cluster(env=env, etc=tmp_path).source


def test_a_choice_whose_key_is_gone_says_so(env: dict[str, str], tmp_path: Path) -> None:
    logins.use("lab", env)
    logins.identity_file("lab", env).unlink()
    with pytest.raises(NotFound, match="remuda cluster use: no cluster is called 'lab'"):
        find_cluster(env=env, etc=tmp_path)


def invitation(scheduler: str) -> Invitation:
    return Invitation("tcp://x:7700", scheduler, generate().secret, "", "submit", "lab")


def test_a_login_keeps_its_place_when_it_comes_again(env: dict[str, str]) -> None:
    found = logins.file_for(invitation(LAB.public), "lab", env)
    assert logins.identity_file("lab", env) == found


def test_two_clusters_of_one_name_are_not_mixed_up(env: dict[str, str]) -> None:
    with pytest.raises(Conflict, match=r"another cluster \(tcp://lab:7700\).*--as NAME"):
        logins.file_for(invitation(FARM.public), "lab", env)


def test_a_line_cannot_choose_a_path(env: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="cannot name a file"):
        logins.file_for(invitation(FARM.public), "../evil", env)
