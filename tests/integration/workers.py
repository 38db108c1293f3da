"""Server processes: started, awaited, stopped, and their logs read."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .cells import Cell

ROOT: Final = Path(__file__).parents[2]
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
ATTEMPTS: Final = 3
FACTORY: Final = "tests.integration.apps.sites:create"

COMMANDS: Final = {
    "uvicorn-httptools": "uvicorn {factory} --factory --http httptools {uvicorn}",
    "uvicorn-h11": "uvicorn {factory} --factory --http h11 {uvicorn}",
    "granian": "granian {factory} --factory --interface asgi --workers 1 --port {port}",
    "hypercorn": "hypercorn {factory}() --workers 0 --bind 127.0.0.1:{port}",
}
UVICORN: Final = "--port {port} --log-level warning --timeout-graceful-shutdown 3"

BAD_SIGNS: Final = (
    "asgi_cache said",
    "attached to a different loop",
    "Event loop is closed",
    "never awaited",
    "never retrieved",
    "was destroyed but it is pending",
    "Unclosed",
)
"""What no server's log may say."""


class Worker:
    """One process that serves the sites of one framework."""

    def __init__(self, cell: Cell, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.cell = cell
        self.name = name
        self.port = 0
        self._log = folder / f"{cell}-{name}-{uuid.uuid4().hex}.log"
        self._environment = {
            **os.environ,
            **environment,
            "INTEGRATION_FRAMEWORK": cell.framework,
            "INTEGRATION_WORKER": name,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start; :meth:`wait` says when it serves."""
        self.port = free_port()
        command = COMMANDS[self.cell.server].format(
            factory=FACTORY, port=self.port, uvicorn=UVICORN.format(port=self.port)
        )
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command.split()],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it in order
            )

    def wait(self) -> None:
        """Return when it serves; where it ended, somebody else had its port: start it again."""
        for _ in range(ATTEMPTS):
            deadline = time.monotonic() + READY_SECONDS
            while time.monotonic() < deadline:
                if self._serves():
                    return
                assert self._process is not None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.02)  # for an early end, and for the next look
                    break
            else:
                break
            self.start()
        self.stop()
        raise RuntimeError(f"{self.cell} did not start:\n{self.log()}")

    def _serves(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_SECONDS)
        not_ours = (OSError, http.client.HTTPException, ValueError)
        with contextlib.closing(connection), contextlib.suppress(*not_ours):
            connection.request("GET", "/worker", headers={"Host": "control"})
            return bool(json.loads(connection.getresponse().read()) == self.name)
        return False

    def log(self) -> str:
        """What it has said."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def stop(self) -> None:
        """End, at the latest after some seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # its session, so that no child of a server stays
            process.wait()
            raise RuntimeError(f"{self.cell} did not stop:\n{self.log()}") from None


class Workers:
    """The processes of *cells*, one cell after the other, in this order.

    While a cell's tests run the next one's processes start; before they run, the last one's end.
    """

    def __init__(self, folder: Path, cells: Sequence[Cell], stores: Mapping[str, str]) -> None:
        self._folder = folder
        self._file = folder / "file.bin"
        self._file.write_bytes(FILE_CONTENT)
        self._cells = cells
        self._stores = stores
        self._running: dict[Cell, list[Worker]] = {}

    def of(self, cell: Cell) -> list[Worker]:
        """The workers of *cell*: two where they share a Redis."""
        place = self._cells.index(cell)
        wanted = self._cells[place : place + 2]
        if set(wanted) != set(self._running):
            self.stop(kept=wanted)
            for each in wanted:
                if each not in self._running:
                    self._running[each] = self._started(each)
            for worker in self._running[cell]:
                worker.wait()
        return self._running[cell]

    def _started(self, cell: Cell) -> list[Worker]:
        environment = {
            "INTEGRATION_STORE": self._stores[cell.store],
            "INTEGRATION_NAMESPACE": f"integration-{uuid.uuid4().hex}",
            "INTEGRATION_FILE": str(self._file),
        }
        names = ["one", "two"] if cell.has("two-workers") else ["one"]
        workers = [Worker(cell, name, self._folder, environment) for name in names]
        for worker in workers:
            worker.start()
        return workers

    def stop(self, kept: Sequence[Cell] = ()) -> None:
        """Stop what runs; an AssertionError where a log shows what it should not."""
        over = [cell for cell in self._running if cell not in kept]
        stopped = [worker for cell in over for worker in self._running.pop(cell)]
        with contextlib.ExitStack() as stack:
            for worker in stopped:
                stack.callback(worker.stop)
        for worker in stopped:
            log = worker.log()
            for sign in BAD_SIGNS:
                assert sign not in log, f"{worker.cell} ({worker.name}):\n{log}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


FILE_CONTENT: Final = bytes(range(256)) * 1000
"""256 kB, and no multiple of what frameworks read at a time."""
