"""The metrics process: `python -m remuda.scheduler.metrics_process`, a child of the scheduler.

It hears frames on stdin and answers Prometheus over HTTP in threads of its own, so that nobody who
reads slowly, or much, ever holds the scheduler up. It ends when stdin does: a scheduler that is
killed leaves none behind.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .metrics_page import Page
from .mirror_frames import Unpacker, pack

READ_BYTES = 1 << 20
NICENESS = 5
PATIENCE_S = 5.0  # for a request to come, and for its answer to be taken
READERS_MAX = 16
STDIN, STDOUT, STDERR = 0, 1, 2
TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
HELP = "what is served here: /metrics, /livez, /readyz\n"


class Server(ThreadingHTTPServer):
    """Answers with what the page says now; more than so many readers at a time are hung up on."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], page: Page) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.page = page
        self.writing = threading.Lock()
        self._places = threading.BoundedSemaphore(READERS_MAX)
        super().__init__(address, Answer)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of readers that went away."""


class Answer(BaseHTTPRequestHandler):
    """One request: who asks gets an answer at once, or is hung up on."""

    server: Server
    timeout = PATIENCE_S
    server_version, sys_version = "remuda", ""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        code, kind, body = self._found(self.path.partition("?")[0])
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _found(self, path: str) -> tuple[int, str, bytes]:
        page, now_ns = self.server.page, time.monotonic_ns()
        if path == "/metrics":
            with self.server.writing:  # a large page takes seconds, health does not wait for it
                return 200, METRICS, page.text(now_ns)
        if path == "/livez":
            return _health(page.why_not_live(now_ns))
        if path == "/readyz":
            return _health(page.why_not_ready(now_ns))
        return 404, TEXT, HELP.encode()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called
        """Keep no log of readers."""


def _ended() -> int:
    """Wait until the scheduler has read why, and ends this process."""
    while os.read(STDIN, READ_BYTES):
        continue
    return 1


def _health(why_not: str) -> tuple[int, str, bytes]:
    return (503 if why_not else 200), TEXT, f"{why_not or 'ok'}\n".encode()


def main() -> int:
    """Serve what the scheduler tells until it closes the pipe."""
    os.nice(NICENESS)
    reports = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)  # whatever a library prints is no report
    unpacker = Unpacker()
    page = Page(scheduler_pid=os.getppid())
    server: Server | None = None
    while chunk := os.read(STDIN, READ_BYTES):
        for frame in unpacker.feed(chunk):
            if frame[0] != "hello":
                page.hear(frame)
                continue
            host, port = frame[1:]
            try:
                server = Server((host, port), page)
            except OSError as error:
                os.write(reports, pack("down", f"{error.strerror or error}", 0))
                return _ended()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            os.write(reports, pack("up", "", server.server_address[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
