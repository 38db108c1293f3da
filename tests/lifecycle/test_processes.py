"""The workers of these tests are the processes that they take them for."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.lifecycle import processes
from tests.lifecycle.processes import Worker, running
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


class Other(BaseHTTPRequestHandler):
    """Somebody else's app."""

    def do_GET(self) -> None:
        self.send_response(500)
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - its base's name
        """Say nothing."""


@contextlib.contextmanager
def another() -> Iterator[int]:
    """The port that another process's server has got first."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_worker_whose_port_is_anothers_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with another() as taken:
        ports = iter([taken])
        monkeypatch.setattr(processes, "free_port", lambda: next(ports, None) or free_port())
        worker = Worker(store="memory://")
        with running(worker):
            assert worker.started == 2
            assert worker.state()["calls"] == 0
