"""Is nothing half there, nothing lost and nothing left over when store or client are killed?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from remuda.config.store_home import objects_dir
from remuda.transfer import Source, digest_bytes, digest_file

from ..fakes.answering_scheduler import answering_scheduler
from ..fakes.dying_store import STEPS
from ..fakes.raw import wait_for
from ..fakes.store_daemon import source_of, store_daemon

pytestmark = pytest.mark.cluster
LARGE = 3 * 1024 * 1024 + 17
SMALL = 100 * 1024
SHORT = '[store]\nunclaimed_keep = "1s"\ncollect_every = "100ms"\n'
REMOVALS = (
    "it is about to be removed",
    "its row is gone, its bytes are not",
    "half of it is removed",
)


def object_path(digest: bytes) -> str:
    return f"objects/{digest.hex()[:2]}/{digest.hex()}"


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("step", [step for step in STEPS if step not in REMOVALS])
def test_an_upload_goes_on_after_a_kill_and_leaves_nothing_over(step: str, tmp_path: Path) -> None:
    with store_daemon(tmp_path / "home", dies_when=step) as store:
        blobs = [os.urandom(size) for size in (LARGE, SMALL, 10)]
        claims: list[bytes] = []
        mover = store.mover()
        putting = in_thread(lambda: claims.extend(mover.put([source_of(blob) for blob in blobs])))
        assert store.process is not None
        assert -signal.SIGKILL == store.process.wait(30)
        store.start()
        putting.join()
        assert [digest_bytes(blob) for blob in blobs] == [
            store.have("alice", claim).object for claim in claims
        ]
        assert sorted(object_path(digest_bytes(blob).digest) for blob in blobs) == store.files()
        assert sum(map(len, blobs)) == store.state()["bytes"]
        for blob in blobs:
            assert blob == mover.get_bytes(digest_bytes(blob).digest, b"", len(blob))


@pytest.mark.parametrize("step", REMOVALS)
def test_a_removal_goes_on_after_a_kill(step: str, tmp_path: Path) -> None:
    with store_daemon(tmp_path / "home", SHORT, dies_when=step) as store:
        blobs = [os.urandom(SMALL) for _ in range(5)]
        store.mover().put([source_of(blob) for blob in blobs])
        with answering_scheduler(store.home) as scheduler:
            scheduler.held.add(digest_bytes(blobs[0]).digest)
            assert store.process is not None
            assert -signal.SIGKILL == store.process.wait(30)
            store.start()
            kept = [object_path(digest_bytes(blobs[0]).digest)]
            wait_for(lambda: store.files() == kept, "the others to be removed")
            assert (1, SMALL) == (store.state()["objects"], store.state()["bytes"])


CLIENT = """
import sys
from pathlib import Path
from remuda.config.keys import KeyPair
from remuda.transfer import Mover, Source, digest_file
address, public, secret, server, path = sys.argv[1:]
path = Path(path)
def tell(done, total):
    print(done, flush=True)
    sys.stdin.readline() if done > 2**20 else None
Mover(address, KeyPair(public, secret), server).put([Source(path, *digest_file(path))], tell)
"""


def test_an_upload_of_a_killed_client_goes_on_where_it_was(tmp_path: Path) -> None:
    with store_daemon(tmp_path / "home") as store:
        path = tmp_path / "large"
        path.write_bytes(os.urandom(LARGE))
        key = store.keys["alice"]
        client = subprocess.Popen(
            [
                sys.executable,
                "-c",
                CLIENT,
                store.address,
                key.public,
                key.secret,
                store.public,
                path,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        wait_for(lambda: int(client.stdout.readline() or b"9999999") > 2**20, "a part to be there")  # type: ignore[union-attr]  # it is a pipe
        client.kill()
        client.wait()
        source = Source(path, *digest_file(path))
        told: list[int] = []
        (claim,) = store.mover().put([source], lambda done, _: told.append(done))
        assert told[0] > 2**20, "it did not begin anew"
        assert digest_file(path) == store.have("alice", claim).object
        assert [object_path(source.digest)] == store.files()
        client.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        client.stdout.close()  # type: ignore[union-attr]  # it is a pipe


def test_what_the_disk_lost_is_said_and_can_be_put_again(tmp_path: Path) -> None:
    with store_daemon(tmp_path / "home") as store:
        blob = os.urandom(SMALL)
        (digest, _) = digest_bytes(blob)
        store.mover().put([source_of(blob)])
        store.stop()
        (objects_dir(store.home) / object_path(digest)).unlink()
        store.start()
        assert "objects were lost with the disk" in store.log()
        assert [b""] == store.mover().check([digest])
        store.mover().put([source_of(blob)])
        assert blob == store.mover().get_bytes(digest, b"", SMALL)


def test_a_store_with_a_bucket_survives_a_kill_too(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    (tmp_path / "bucket").mkdir()
    settings = f'[store]\nurl = "file://{tmp_path}/bucket"\n'
    with store_daemon(tmp_path / "home", settings) as store:
        blobs = [os.urandom(size) for size in (LARGE, SMALL, 10, 0)]
        mover = store.mover()
        mover.put([source_of(blob) for blob in blobs])
        store.stop(signal.SIGKILL)
        store.start()
        for blob in blobs:
            assert blob == mover.get_bytes(digest_bytes(blob).digest, b"", len(blob))
        assert [] == store.files()
        found = (tmp_path / "bucket" / "objects").rglob("*")
        kept = [path.name for path in found if path.is_file()]
        assert sorted(digest_bytes(blob).digest.hex() for blob in blobs) == sorted(kept)
