"""How keys are kept: only files that nobody else can read are used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from remuda.config import keys
from remuda.config.keys import (
    AUTHORIZED_BYTES_MAX,
    KEY_FILE_BYTES_MAX,
    AuthorizedKey,
    Identity,
    KeyFileError,
    KeyPair,
    check_public,
    ensure_key_pair,
    fingerprint,
    generate,
    load_authorized,
    load_identity,
    load_key_pair,
    save_authorized,
    save_identity,
    save_key_pair,
)
from remuda.protocol.errors import NotFound

PAIR = generate()
OTHER = generate()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "scheduler.key"
    save_key_pair(path, PAIR)
    return path


def test_a_key_pair_survives_writing_and_reading(path):
    assert PAIR == load_key_pair(path)


def test_a_key_file_is_closed_to_others_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        save_key_pair(tmp_path / "a.key", PAIR)
    finally:
        os.umask(before)
    assert 0o600 == (tmp_path / "a.key").stat().st_mode & 0o777


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o777])
def test_a_key_file_that_others_can_use_is_refused(path, mode):
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600"):
        load_key_pair(path)


def test_a_key_file_that_is_only_readable_is_accepted(path):
    path.chmod(0o400)
    assert PAIR == load_key_pair(path)


def test_a_key_file_of_another_user_is_refused(path):
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        path = Path("/etc/passwd")  # only root can give a file away, but this one is not ours
    with pytest.raises(KeyFileError, match=f"belongs to user {path.stat().st_uid}"):
        load_key_pair(path)


def test_root_may_look_at_a_cluster_with_the_key_of_a_service(tmp_path, monkeypatch):
    file = tmp_path / "client.key"
    save_identity(file, Identity("me", "admin", PAIR, PAIR.public, "tcp://127.0.0.1:1", "lab"))
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(KeyFileError, match=r"do this as that user, with `sudo -u .* \.\.\.`"):
        load_identity(file)
    assert "me" == load_identity(file, lent=True).name


def test_a_missing_key_file_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="there is no such key file"):
        load_key_pair(tmp_path / "no.key")


def test_a_directory_is_no_key_file(tmp_path):
    with pytest.raises(KeyFileError, match="not a regular file"):
        load_key_pair(tmp_path)


def test_a_pipe_is_no_key_file_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        load_key_pair(tmp_path / "fifo")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "is not a key file"),
        (b"public = ", "is not a key file"),
        (b"", "public is missing"),
        (f'public = "{PAIR.public}"'.encode(), "secret is missing"),
        (f'public = "{PAIR.public}"\nsecret = 5'.encode(), "secret is missing"),
        (f'public = "{PAIR.public}"\nsecret = "x"'.encode(), "its secret is not a key"),
        (f'public = "{OTHER.public}"\nsecret = "{PAIR.secret}"'.encode(), "do not belong together"),
        (b'public = "short"\nsecret = "x"', "is not a public key"),
        (b"#" * (KEY_FILE_BYTES_MAX + 1), "is larger than"),
    ],
    ids=range(9),  # the content is another one in each process
)
def test_a_damaged_key_file_is_refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=message):
        load_key_pair(path)


@pytest.mark.parametrize(
    "content",
    [
        f'public = "{OTHER.public}"\nsecret = "{PAIR.secret}"',
        f'secret = "{PAIR.secret}"',
        PAIR.secret,
    ],
    ids=("both", "a line", "alone"),
)
def test_no_error_about_a_key_file_tells_the_secret(path, content):
    path.write_text(content)
    with pytest.raises(KeyFileError) as caught:
        load_key_pair(path)
    assert PAIR.secret not in str(caught.value)


def test_a_secret_does_not_show_when_a_pair_is_printed():
    assert f"KeyPair(public='{PAIR.public}')" == repr(PAIR)


def test_a_missing_pair_is_made_once(tmp_path):
    path = tmp_path / "new.key"
    assert ensure_key_pair(path) == ensure_key_pair(path)


def test_who_makes_a_missing_pair_at_the_same_time_gets_the_same_one(tmp_path, monkeypatch):
    path = tmp_path / "new.key"
    quicker = []

    def generate_late():
        monkeypatch.undo()
        quicker.append(ensure_key_pair(path))  # another daemon, before this one has written its own
        return generate()

    monkeypatch.setattr(keys, "generate", generate_late)
    assert [ensure_key_pair(path)] == quicker == [load_key_pair(path)]
    assert [path] == list(tmp_path.iterdir())


def test_a_pair_that_cannot_be_read_is_not_replaced(path):
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(KeyFileError):
        ensure_key_pair(path)
    assert before == path.read_bytes()


def test_an_identity_survives_writing_and_reading(tmp_path):
    identity = Identity("ann", "submit", PAIR, OTHER.public, "tcp://gpu-head:7700", "gpus")
    save_identity(tmp_path / "client.key", identity)
    assert identity == load_identity(tmp_path / "client.key")


@pytest.mark.parametrize("name", ['a"', "a\nrole = 1", "a\\"])
def test_a_text_that_would_break_a_key_file_is_refused(tmp_path, name):
    identity = Identity(name, "submit", PAIR, OTHER.public, "tcp://gpu-head:7700", "gpus")
    with pytest.raises(KeyFileError, match="cannot be written"):
        save_identity(tmp_path / "client.key", identity)


def test_authorized_keys_survive_writing_and_reading(tmp_path):
    keys = [AuthorizedKey("ann", "admin", PAIR.public), AuthorizedKey("n1", "node", OTHER.public)]
    save_authorized(tmp_path / "authorized", keys)
    assert keys == load_authorized(tmp_path / "authorized")


def test_authorized_keys_may_be_read_by_others(tmp_path):
    save_authorized(tmp_path / "authorized", [])
    (tmp_path / "authorized").chmod(0o644)
    assert [] == load_authorized(tmp_path / "authorized")


def test_authorized_keys_that_others_can_change_are_refused(tmp_path):
    save_authorized(tmp_path / "authorized", [])
    (tmp_path / "authorized").chmod(0o620)
    with pytest.raises(KeyFileError, match="others have access"):
        load_authorized(tmp_path / "authorized")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ann admin", ":2: a line is NAME ROLE PUBLIC-KEY"),
        ("ann admin short", ":2: 'short' is not a public key"),
        ("# x\n\nann", ":4: a line is"),
    ],
)
def test_a_broken_line_of_authorized_keys_is_named(tmp_path, line, message):
    path = tmp_path / "authorized"
    save_authorized(path, [])
    path.write_text(f"# comment\n{line}\n")
    with pytest.raises(KeyFileError, match=message):
        load_authorized(path)


def test_a_huge_file_of_authorized_keys_is_refused(tmp_path):
    path = tmp_path / "authorized"
    save_authorized(path, [])
    path.write_bytes(b"#" * (AUTHORIZED_BYTES_MAX + 1))
    with pytest.raises(KeyFileError, match="is larger than"):
        load_authorized(path)


@given(st.binary(min_size=32, max_size=32))
def test_every_key_that_zeromq_can_write_is_accepted(raw):
    text = z85.encode(raw).decode()
    assert text == check_public(text)


@pytest.mark.parametrize(
    "text", ["", "a" * 39, "a" * 41, "a" * 39 + '"', "#" * 40, "é" * 40, None, 5]
)
def test_what_cannot_be_a_key_is_refused(text):
    with pytest.raises(KeyFileError, match="is not a public key"):
        check_public(text)


def test_a_fingerprint_is_stable_and_short():
    assert "vmt4-bzf7-syjw-o42v" == fingerprint("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7")


def test_keys_have_different_fingerprints():
    assert fingerprint(PAIR.public) != fingerprint(OTHER.public)


def test_a_new_pair_belongs_together():
    pair = generate()
    assert KeyPair(zmq.curve_public(pair.secret.encode()).decode(), pair.secret) == pair


def test_finding_a_cluster_needs_neither_zeromq_nor_pydantic_nor_structlog():
    code = (
        "import sys, remuda.config.cluster\n"
        "heavy = {'zmq', 'pydantic', 'pydantic_settings', 'structlog', 'redis'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]\n" == found.stdout


def test_loading_the_configuration_needs_neither_structlog_nor_pydantic_settings():
    code = (
        "import sys, remuda.config.load\n"
        "print(sorted({'zmq', 'pydantic_settings', 'structlog', 'redis'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]\n" == found.stdout
