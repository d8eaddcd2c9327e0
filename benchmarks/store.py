"""How fast do objects come in and go out, beside what sockets and disk allow by themselves?

One store process, one client. Beside it, in the same run: two processes that send the same chunks
over bare CURVE sockets with the same window, the disk alone, and both together: a file that is
read, sent and written (and synced, as the store does), with no digest, no index and no rights. The
ratios are to that: it is what the hops allow on this machine. Both are measured in turns, and both
find memory for the page cache that was in use a moment ago: a virtual machine may pay four times
the price of a copy for memory that its host has to find first.
"""

from __future__ import annotations

import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import zmq

from remuda.config.endpoints import tcp_url
from remuda.config.home import Home
from remuda.config.keys import KeyPair, ensure_key_pair, generate
from remuda.config.store_home import keys_file, port_file, read_store_port, write_store_keys
from remuda.protocol.store_messages import CHUNK_BYTES, WINDOW_CHUNKS
from remuda.transfer import Mover, Source, Want, digest_file

MIB = 1 << 20
LARGE_BYTES = 1024 * MIB
FILES = 10_000
FILE_BYTES = 100 * 1024
CLIENTS = 64
CLIENT_BYTES = 16 * MIB
ROUNDS = 3
POPULATE_WRITE = 23  # of Linux, for madvise
START_S = 30.0


def main() -> dict[str, float]:
    """Return MiB/s of a large object both ways and of its hops, files/s, and the memory."""
    folder = Path(tempfile.mkdtemp(prefix="remuda-bench-"))
    try:
        figures = {"curve": bare_mib_s(folder), **disk_mib_s(folder)}
        with running_store(folder) as (process, mover):
            rounds = [one_round(folder, mover()) for _ in range(ROUNDS)]
            figures |= {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
            figures |= files_s(folder, mover())
            many_clients(folder, mover)
            figures["mib"] = peak_mib(process)
    finally:
        shutil.rmtree(folder)
    return {f"store_{name}": value for name, value in figures.items()}


@contextmanager
def running_store(folder: Path) -> Iterator[tuple[psutil.Process, Callable[[], Mover]]]:
    """Start a store that admits one key; yield its process and what makes connections to it."""
    home = Home(folder / "home")
    home.create()
    key = generate()
    write_store_keys(keys_file(home), {key.public: ("bench", "admin")})
    public = ensure_key_pair(home.key_file("scheduler")).public
    argv = [sys.executable, "-m", "remuda.store", "--home", str(home.root), "--port", "0"]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    made: list[Mover] = []

    def mover() -> Mover:
        made.append(Mover(tcp_url("127.0.0.1", read_store_port(port_file(home))), key, public))
        return made[-1]

    try:
        ends = time.monotonic() + START_S
        while not read_store_port(port_file(home)) and time.monotonic() < ends:
            time.sleep(0.05)
        yield psutil.Process(process.pid), mover
    finally:
        for each in made:
            each.close()
        process.terminate()
        process.wait()


def one_round(folder: Path, mover: Mover) -> dict[str, float]:
    """Put and get one large file, each beside its hop, and compare."""
    path, back = folder / "large", folder / "back"
    with path.open("wb") as file:
        for _ in range(LARGE_BYTES // MIB):
            file.write(os.urandom(MIB))
    digest, size = digest_file(path)
    hops_put = bare_mib_s(folder, write=True, sync=True)
    os.sync()
    touch_memory(LARGE_BYTES)
    start = time.perf_counter()
    (claim,) = mover.put([Source(path, digest, size)])
    put = LARGE_BYTES / MIB / (time.perf_counter() - start)
    hops_get = bare_mib_s(folder, write=True)
    os.sync()
    touch_memory(LARGE_BYTES)
    start = time.perf_counter()
    mover.get([Want(digest, claim, size, back)])
    get = LARGE_BYTES / MIB / (time.perf_counter() - start)
    path.unlink()
    back.unlink()
    return {
        "hops_put": hops_put, "put": put, "put_ratio": 100 * put / hops_put,
        "hops_get": hops_get, "get": get, "get_ratio": 100 * get / hops_get,
    }  # fmt: skip


def touch_memory(size: int) -> None:
    """Use so much memory and give it back, so that whoever needs it next finds it at hand."""
    with mmap.mmap(-1, min(size, psutil.virtual_memory().available // 2)) as memory:
        memory.madvise(POPULATE_WRITE)


def files_s(folder: Path, mover: Mover) -> dict[str, float]:
    """Put many small files, hashing included, then again, then get them."""
    paths = [folder / "files" / f"{number}" for number in range(FILES)]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(os.urandom(FILE_BYTES))
    os.sync()
    start = time.perf_counter()
    sources = [Source(path, *digest_file(path)) for path in paths]
    claims = mover.put(sources)
    put_s = time.perf_counter() - start
    start = time.perf_counter()
    mover.put(sources)
    again_s = time.perf_counter() - start
    pairs = zip(sources, claims, strict=True)
    wants = [Want(each.digest, claim, each.size, Path(f"{each.content}b")) for each, claim in pairs]
    start = time.perf_counter()
    mover.get(wants)
    get_s = time.perf_counter() - start
    return {"files_put": FILES / put_s, "files_again": FILES / again_s, "files_get": FILES / get_s}


def many_clients(folder: Path, mover: Callable[[], Mover]) -> None:
    """Put from many connections at once and get it all back, for the memory that it takes."""
    paths = [folder / f"client-{number}" for number in range(CLIENTS)]
    for path in paths:
        path.write_bytes(os.urandom(CLIENT_BYTES))

    def work(path: Path) -> None:
        link = mover()
        source = Source(path, *digest_file(path))
        (claim,) = link.put([source])
        link.get([Want(source.digest, claim, source.size, path)])

    threads = [threading.Thread(target=work, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def peak_mib(process: psutil.Process) -> float:
    """Return the most memory that a process ever had in use."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def disk_mib_s(folder: Path) -> dict[str, float]:
    """Write a file and sync it, and read it again, without anything of ours."""
    path = folder / "disk"
    blob = os.urandom(MIB)
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(LARGE_BYTES // MIB):
            file.write(blob)
        os.fsync(file.fileno())
    write_s = time.perf_counter() - start
    start = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(MIB):
            pass
    read_s = time.perf_counter() - start
    path.unlink()
    return {
        "disk_write": LARGE_BYTES / MIB / write_s,
        "disk_read": LARGE_BYTES / MIB / read_s,
    }


def bare_mib_s(folder: Path, *, write: bool = False, sync: bool = False) -> float:
    """Send chunks from one process to another over CURVE, a window ahead, and nothing else.

    With `write` they are read from a file and written to one.
    """
    server, client = generate(), generate()
    source, sink = folder / "bare-source", folder / "bare-sink"
    if write:
        with source.open("wb") as file:
            blob = os.urandom(MIB)
            for _ in range(LARGE_BYTES // MIB):
                file.write(blob)
        os.sync()
        touch_memory(LARGE_BYTES)
    options = [server.public, server.secret, str(sink) if write else "", "sync" if sync else ""]
    process = subprocess.Popen(
        [sys.executable, __file__, "sink", *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = _curve(context, zmq.DEALER, client)
    socket.curve_serverkey = server.public.encode()
    socket.connect(f"tcp://127.0.0.1:{port}")
    chunk = os.urandom(CHUNK_BYTES)
    start = time.perf_counter()
    with (source if write else Path("/dev/null")).open("rb", buffering=0) as file:
        for sent in range(LARGE_BYTES // CHUNK_BYTES):
            if sent >= WINDOW_CHUNKS:
                socket.recv()
            socket.send_multipart((b"frame", file.read(CHUNK_BYTES) if write else chunk))
    for _ in range(WINDOW_CHUNKS):
        socket.recv()
    taken_s = time.perf_counter() - start
    process.wait()
    socket.close(linger=0)
    context.term()
    for path in (source, sink):
        path.unlink(missing_ok=True)
    return LARGE_BYTES / MIB / taken_s


def _sink(public: str, secret: str, path: str, sync: str) -> None:
    """Take chunks and give a credit for each; write them to a file, if one is named."""
    socket = _curve(zmq.Context(), zmq.ROUTER, KeyPair(public, secret))
    socket.curve_server = True
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    print(port, flush=True)
    count = LARGE_BYTES // CHUNK_BYTES
    with Path(path or "/dev/null").open("wb", buffering=0) as file:
        for number in range(count):
            route, _, chunk = socket.recv_multipart(copy=False)
            file.write(chunk.buffer)
            if sync and number == count - 1:
                os.fsync(file.fileno())
            socket.send_multipart((route.bytes, b"credit"))
    socket.close(linger=5_000)


def _curve(context: zmq.Context[zmq.Socket[bytes]], kind: int, pair: KeyPair) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.curve_publickey = pair.public.encode()
    socket.curve_secretkey = pair.secret.encode()
    return socket


if __name__ == "__main__":
    if sys.argv[1:2] == ["sink"]:
        _sink(*sys.argv[2:])
    else:
        for key, value in main().items():
            print(f"{key:18} {value:,.2f}")
