"""Where the files of a cluster stand, who may enter, and which cluster is meant."""

import os
import stat
from pathlib import Path

import pytest

from remuda.config import cluster
from remuda.config.cluster import CLIENT, connection, find_cluster
from remuda.config.endpoints import Endpoints, read_endpoints, tcp_url, write_endpoints
from remuda.config.home import Home, default_home, write_atomically
from remuda.config.keys import Identity, KeyFileError, ensure_key_pair, generate, save_identity
from remuda.config.logins import identities_dir
from remuda.protocol.errors import Invalid, NotFound, Unreachable

SCHEDULER = generate()
CLIENT_KEY = generate()


def endpoints(**changes) -> Endpoints:
    values = {
        "cluster": "local",
        "host": "127.0.0.1",
        "control": 7700,
        "uplink": 7701,
        "heartbeat": 7702,
        "beacon": 7703,
        "scheduler_public": SCHEDULER.public,
        "epoch": 3,
        "pid": 4242,
    }
    return Endpoints(**(values | changes))


def identity(**changes) -> Identity:
    values = {
        "name": "ann",
        "role": "admin",
        "key": CLIENT_KEY,
        "scheduler_public": SCHEDULER.public,
        "endpoint": "tcp://gpu-head:7700",
        "cluster": "gpus",
    }
    return Identity(**(values | changes))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "ann")}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directories_of_a_home_are_closed_to_others(home):
    made = [home.root, home.keys_dir, home.state_dir, home.scheduler_dir, home.logs_dir]
    assert [0o700] * 6 == [mode(path) for path in [*made, home.run_dir]]


def test_making_a_home_again_closes_what_was_opened(home):
    home.keys_dir.chmod(0o755)
    home.create()
    assert 0o700 == mode(home.keys_dir)


def test_a_home_that_exists_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    Home(tmp_path).create()
    assert 0o755 == mode(tmp_path)


@pytest.mark.parametrize("open_mode", [0o777, 0o1777, 0o770])
def test_a_home_where_others_can_write_is_refused(tmp_path, open_mode):
    tmp_path.chmod(open_mode)
    with pytest.raises(Invalid, match="others can write there"):
        Home(tmp_path).create()
    assert [] == list(tmp_path.iterdir())


def test_a_home_that_cannot_be_made_is_refused_with_its_path(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Invalid, match="file/home: cannot be made ours: Not a directory"):
        Home(tmp_path / "file" / "home").create()


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "x" * 64, "a\n"])
def test_a_name_that_could_leave_the_home_is_refused(tmp_path, name):
    with pytest.raises(Invalid, match="cannot name a file"):
        Home(tmp_path).node_dir(name)


def test_each_daemon_has_its_own_files(tmp_path):
    home = Home(tmp_path)
    found = [home.log_file("node-a"), home.pid_file("node-a"), home.key_file("node-a")]
    assert ["logs/node-a.log", "run/node-a.pid", "keys/node-a.key"] == [
        str(path.relative_to(tmp_path)) for path in found
    ]


def test_the_default_home_is_below_the_users_data(env, tmp_path):
    assert tmp_path / "ann/.local/share/remuda" == default_home(env)


def test_the_default_home_follows_the_data_directory(env):
    assert Path("/data/remuda") == default_home(env | {"XDG_DATA_HOME": "/data"})


def test_a_file_is_replaced_whole_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    path.write_text("old and longer")
    before = path.stat().st_ino
    write_atomically(path, b"new")
    assert (b"new", True, [path]) == (
        path.read_bytes(),
        before != path.stat().st_ino,
        list(tmp_path.iterdir()),
    )


@pytest.mark.parametrize("wanted", [0o600, 0o644])
def test_a_written_file_has_its_mode_whatever_the_umask(tmp_path, wanted):
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "file", b"", mode=wanted)
    finally:
        os.umask(before)
    assert wanted == mode(tmp_path / "file")


def test_a_write_that_fails_keeps_the_old_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "target").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "target", b"new")
    assert [tmp_path / "target"] == list(tmp_path.iterdir())


def test_endpoints_survive_writing_and_reading(home):
    write_endpoints(home.endpoints_file, endpoints())
    assert endpoints() == read_endpoints(home.endpoints_file)


def test_without_an_endpoints_file_nothing_runs(home):
    assert None is read_endpoints(home.endpoints_file)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{", '{"cluster": "a"}', "\\xff", '{"cluster": 1}'],
)
def test_garbage_in_the_endpoints_file_is_told(home, content):
    home.endpoints_file.write_text(content)
    with pytest.raises(Invalid, match="is not an endpoints file: remove it"):
        read_endpoints(home.endpoints_file)


@pytest.mark.parametrize("changes", [{"control": "7700"}, {"epoch": True}, {"host": None}])
def test_a_wrong_type_in_the_endpoints_file_is_told(home, changes):
    write_endpoints(home.endpoints_file, endpoints(**changes))
    with pytest.raises(Invalid, match="is not an endpoints file"):
        read_endpoints(home.endpoints_file)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("tcp://127.0.0.1:7700", "127.0.0.1"),
        ("tcp://127.0.0.1:7700", "0.0.0.0"),
        ("tcp://[::1]:7700", "::"),
        ("tcp://[fe80::1]:7700", "fe80::1"),
        ("tcp://gpu-head:7700", "gpu-head"),
    ],
)
def test_an_address_is_written_as_it_is_dialled(url, host):
    assert url == tcp_url(host, 7700)


def test_the_address_of_an_unknown_channel_is_refused():
    with pytest.raises(Invalid, match="is not a channel"):
        endpoints().url("pid")


def test_a_home_that_runs_can_be_dialled(home, env):
    write_endpoints(home.endpoints_file, endpoints(control=1234))
    save_identity(home.key_file(CLIENT), identity())
    found = connection(find_cluster(home=home.root, env=env))
    assert ("tcp://127.0.0.1:1234", SCHEDULER.public, CLIENT_KEY) == (
        found.endpoint,
        found.scheduler_public,
        found.key,
    )


def test_a_home_where_nothing_runs_is_unreachable_and_names_up(home, env):
    with pytest.raises(Unreachable, match="start one with `remuda up`"):
        connection(find_cluster(home=home.root, env=env))


def test_where_services_are_installed_their_home_is_named(home, env, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "SERVICE_HOME", tmp_path)
    for services, hint in (
        (tmp_path, f"`remuda up`, or look at that of the services here: --home {tmp_path}"),
        (tmp_path / "none", "start one with `remuda up`$"),
        (home.root, "`systemctl status remuda-scheduler` says why"),
    ):
        monkeypatch.setattr(cluster, "SERVICE_HOME", services)
        with pytest.raises(Unreachable, match=hint):
            connection(find_cluster(home=home.root, env=env))


def test_a_home_with_a_key_and_no_scheduler_of_its_own_dials_what_the_key_names(home, env):
    save_identity(home.key_file(CLIENT), identity())
    found = connection(find_cluster(home=home.root, env=env))
    assert ("tcp://gpu-head:7700", CLIENT_KEY) == (found.endpoint, found.key)


def test_a_home_whose_scheduler_is_down_is_unreachable_whatever_its_key_names(home, env):
    save_identity(home.key_file(CLIENT), identity())
    ensure_key_pair(home.key_file("scheduler"))
    with pytest.raises(Unreachable, match="start one with `remuda up`"):
        connection(find_cluster(home=home.root, env=env))


def test_another_scheduler_than_the_trusted_one_is_told_at_once(home, env):
    write_endpoints(home.endpoints_file, endpoints(scheduler_public=generate().public))
    save_identity(home.key_file(CLIENT), identity())
    with pytest.raises(KeyFileError, match=r"trusts the scheduler .* runs there: ask an admin"):
        connection(find_cluster(home=home.root, env=env))


def test_an_option_is_stronger_than_the_environment(home, env, tmp_path):
    env |= {"REMUDA_HOME": str(tmp_path / "other"), "REMUDA_ENDPOINT": "tcp://other:1"}
    found = find_cluster(home=home.root, env=env)
    assert (home, "", "option") == (found.home, found.endpoint, found.source)


def test_the_environment_is_stronger_than_the_host(home, env, tmp_path):
    save_identity(tmp_path / "client.key", identity())
    found = find_cluster(env=env | {"REMUDA_HOME": str(home.root)}, etc=tmp_path)
    assert (home, "environment") == (found.home, found.source)


def test_the_identity_of_the_host_is_stronger_than_the_default_home(env, tmp_path):
    save_identity(tmp_path / "client.key", identity())
    found = connection(find_cluster(env=env, etc=tmp_path))
    assert ("gpus", "tcp://gpu-head:7700") == (found.cluster, found.endpoint)


def test_when_nothing_is_named_the_default_home_is_meant(env, tmp_path):
    found = find_cluster(env=env, etc=tmp_path)
    assert (Home(default_home(env)), "default") == (found.home, found.source)


def test_an_endpoint_replaces_the_address_and_keeps_the_identity(home, env):
    save_identity(home.key_file(CLIENT), identity())
    found = connection(find_cluster(home=home.root, endpoint="tcp://[::1]:7", env=env))
    assert ("tcp://[::1]:7", CLIENT_KEY) == (found.endpoint, found.key)


def test_an_endpoint_in_the_environment_replaces_the_address(home, env):
    env |= {"REMUDA_HOME": str(home.root), "REMUDA_ENDPOINT": "tcp://a:1"}
    found = find_cluster(env=env)
    assert ("tcp://a:1", home.key_file(CLIENT)) == (found.endpoint, found.identity_file)


@pytest.mark.parametrize("text", ["a:1", "tcp://a", "ipc://x:1", "tcp://:1", "tcp://a:b"])
def test_a_malformed_endpoint_is_refused(env, text):
    with pytest.raises(Invalid, match="write it like tcp://host:7700"):
        find_cluster(endpoint=text, env=env)


def test_a_cluster_is_found_by_its_name(env):
    path = identities_dir(env) / "gpus.key"
    path.parent.mkdir(parents=True)
    save_identity(path, identity())
    assert "tcp://gpu-head:7700" == connection(find_cluster(cluster="gpus", env=env)).endpoint


@pytest.mark.parametrize("name", ["nope", "../gpus", "/etc/passwd"])
def test_an_unknown_cluster_is_not_found_and_the_known_ones_are_named(env, name):
    path = identities_dir(env) / "gpus.key"
    path.parent.mkdir(parents=True)
    save_identity(path, identity())
    with pytest.raises(NotFound, match="known are gpus"):
        find_cluster(cluster=name, env=env)


def test_a_home_and_a_cluster_together_are_refused(home, env):
    with pytest.raises(Invalid, match="name one of them"):
        find_cluster(home=home.root, cluster="gpus", env=env)
