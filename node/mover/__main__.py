"""The mover's process: it reads orders, some threads carry them out, and it ends with its agent.

Started by `porter.py` with a socket as descriptor 0. The main thread does nothing but hear and
answer, so that it answers a Ping whatever is under way; threads move, one of them tidies up.
"""

from __future__ import annotations

import errno
import os
import queue
import socket
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from ...config.giving_way import give_way
from ...config.keys import KeyPair
from ...protocol.errors import Conflict, Invalid, NotAllowed, NotFound, RemudaError
from . import copying, words
from .cache import Cache
from .delivering import Delivering
from .directories import Directories
from .outputs import OutputError
from .preparing import Preparing
from .projects import Projects
from .silence import Silence
from .transfers import GivenUp, Job, Place, Transfers
from .words import Deliver, Prepare, Setup, Word

RECEIVE_BYTES = 1 << 16
SAY_EVERY_S = 0.5
TIDY_EVERY_S = 1.0
LISTEN_EVERY_S = 1.0
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
BAD_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL)


class Speaker:
    """Says words to the agent, from any thread; of progress it says only now and then."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}

    def say(self, word: Word) -> None:
        """Say a word; the end of the agent is ours."""
        try:
            with self._lock:
                self._sock.sendall(words.encode(word))
        except OSError:
            os._exit(0)

    def report(self, name: str, done: int, total: int) -> None:
        """Say how far something is."""
        now = time.monotonic()
        if now - self._said.get(name, 0.0) >= SAY_EVERY_S:
            self._said[name] = now
            self.say(words.Moved(name, done, total))

    def forget(self, name: str) -> None:
        """Let the memory of an attempt go."""
        self._said.pop(name, None)


@dataclass(slots=True)
class Shop:
    """All that the threads of one mover share."""

    speaker: Speaker
    cache: Cache
    directories: Directories
    projects: Projects
    place: Place
    preparing: Preparing
    delivering: Delivering
    orders: queue.SimpleQueue[tuple[Job, Prepare | Deliver]] = field(
        default_factory=queue.SimpleQueue
    )
    jobs: dict[str, Job] = field(default_factory=dict)
    ended: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    ways: list[Transfers] = field(default_factory=list)

    def work(self) -> None:
        """Carry out orders, one after the other, for ever."""
        transfers = Transfers(self.cache, self.place)
        self.ways.append(transfers)
        while True:
            job, order = self.orders.get()
            word = self._carry_out(job, order, transfers)
            if self.jobs.get(job.name) is job:
                self.jobs.pop(job.name, None)
            self.speaker.forget(job.name)
            if job.given_up.is_set():  # it may have gone on for a moment after its end
                self.ended.put(job.name)
            if word is not None:
                self.speaker.say(word)

    def _carry_out(self, job: Job, order: Prepare | Deliver, transfers: Transfers) -> Word | None:
        """Return what is to be said of an order; None when nobody waits any more."""
        try:
            job.check()
            if isinstance(order, Prepare):
                self.preparing.prepare(job, order, transfers)
                return words.Prepared(order.name)
            return self.delivering.deliver(job, order, transfers)
        except GivenUp:
            transfers.close()
            return None
        except OutputError as error:
            return words.Failed(order.name, error.code, str(error))
        except RemudaError as error:
            transfers.close()
            is_first = isinstance(order, Prepare)
            code = code_of_input(error) if is_first else code_of_output(error)
            return words.Failed(order.name, code, error.message)
        except OSError as error:
            return words.Failed(order.name, code_of_os(error), _text(error))

    def listen(self) -> None:
        """Tell when the store falls silent and when it is heard again, for ever."""
        silence = Silence()
        while True:
            time.sleep(LISTEN_EVERY_S)
            if silence.look(list(self.ways), time.monotonic(), has_jobs=bool(self.jobs)):
                self.speaker.say(words.Silent(silence.is_so))

    def tidy(self) -> None:
        """Remove what is over, for ever."""
        due = 0.0
        while True:
            try:
                name = self.ended.get(timeout=TIDY_EVERY_S)
            except queue.Empty:
                name = ""
            try:
                if name:
                    self._end(name)
                if time.monotonic() >= due:
                    self.directories.expire(time.time())
                    due = time.monotonic() + TIDY_EVERY_S
            except OSError as error:
                self.speaker.say(words.Trouble(f"tidying up: {_text(error)}"))

    def _end(self, name: str) -> None:
        self.cache.unpin(name)
        self.projects.let_go(name)
        self.directories.end(name)

    def hear(self, word: Word) -> None:
        """Do what the agent says, without waiting."""
        match word:
            case words.Ping():
                self.speaker.say(words.Pong())
            case words.Prepare() | words.Deliver():
                job = self.jobs[word.name] = Job(word.name, self.speaker.report)
                self.orders.put((job, word))
            case words.Cancel() | words.End():
                if (known := self.jobs.pop(word.name, None)) is not None:
                    known.given_up.set()
                if isinstance(word, words.End):
                    self.ended.put(word.name)
            case words.Reach():
                self.place.move(word)
            case words.InUse():
                self.projects.use(project.hex() for project in word.projects)
            case _:
                raise words.WordError(f"{type(word).__name__} is not for a mover")


def code_of_input(error: RemudaError) -> str:
    """Return the code of a task whose needs could not be had."""
    return "input_missing" if isinstance(error, (NotFound, NotAllowed, Invalid)) else "network"


def code_of_output(error: RemudaError) -> str:
    """Return the code of a task whose outputs could not be stored."""
    if isinstance(error, Conflict):
        return "output_missing"
    return "output_too_large" if isinstance(error, Invalid) else "network"


def code_of_os(error: OSError) -> str:
    """Return the code of failure that an error of the node's disk means for a task."""
    return "input_missing" if error.errno in BAD_NAME else "disk_full"


def _text(error: OSError) -> str:
    if error.errno in NO_ROOM or error.strerror:
        return f"{error.strerror}: {error.filename or ''}".rstrip(": ")
    return str(error)


def open_shop(setup: Setup, speaker: Speaker) -> Shop:
    """Look at what is on disk, and put the parts together."""
    root = Path(setup.state_dir)
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    cache = Cache(root / "cache", setup.cache_bytes_max, setup.disk_free_bytes_min, boot_id)
    directories = Directories(root / "tasks", setup.keep_s, setup.dirs_bytes_max)
    projects = Projects(root / "cache" / "projects")
    cache.scan()
    projects.scan()
    directories.scan(setup.living)
    place = Place(KeyPair(setup.public, setup.secret), setup.patience_s)
    cache.free_more = directories.free
    preparing = Preparing(cache, directories, projects, copying.shares_blocks(cache.root))
    delivering = Delivering(directories, setup.outputs_bytes_max)
    return Shop(speaker, cache, directories, projects, place, preparing, delivering)


def die(what: threading.ExceptHookArgs) -> None:
    """End with the thread that met a bug of ours: the agent starts another mover, and counts."""
    traceback.print_exception(what.exc_type, what.exc_value, what.exc_traceback)
    os._exit(1)


def main() -> None:
    """Serve one agent until it is gone."""
    give_way()
    threading.excepthook = die
    sock = socket.socket(fileno=0)
    parser = words.Parser()
    shop: Shop | None = None
    while True:
        data = sock.recv(RECEIVE_BYTES)
        if not data:
            os._exit(0)  # threads may be in the middle of something: all of it can be cut off
        for word in parser.feed(data):
            if isinstance(word, Setup):
                shop = open_shop(word, Speaker(sock))
                for _ in range(word.transfers):
                    threading.Thread(target=shop.work, daemon=True).start()
                threading.Thread(target=shop.tidy, daemon=True).start()
                threading.Thread(target=shop.listen, daemon=True).start()
            elif shop is None:
                sys.exit("the first word is not Setup")
            else:
                shop.hear(word)


if __name__ == "__main__":
    main()
