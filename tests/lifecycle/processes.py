"""Worker processes (uvicorn) to be ended, killed and suspended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

import asgi_cache
from tests.lifecycle.app import OPTIONS, WORKER
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT: Final = Path(__file__).parents[2]
READY_SECONDS: Final = 60.0
ATTEMPTS: Final = 3
LATE_SECONDS: Final = 30.0
"""What has not happened by then will not happen."""

PATIENT: Final[dict[str, Any]] = {"store_timeout": 5.0, "request_store_timeout": 10.0}
"""Settings where the haste of a busy machine is not what is judged."""

BAD_SIGNS: Final = (
    *("Traceback", "asgi_cache said", "attached to a different loop", "Event loop is closed"),
    *("never awaited", "never retrieved", "was destroyed but it is pending", "Unclosed"),
)
"""What no worker may say."""


class Worker:
    """One uvicorn with the app of these tests; *options* are those of ``asgi_cache.wrap``.

    *graceful*: seconds that it waits for requests when it is ended. *package*: a directory with
    another ``asgi_cache`` than this one.
    """

    def __init__(
        self,
        name: str = "one",
        *,
        graceful: int = 20,
        loop: str = "auto",
        package: Path | None = None,
        **options: Any,
    ) -> None:
        self.name = name
        self.port = 0
        self.started = 0
        """How often it was."""
        self.kills = 0
        """How often it was killed, or was about to be."""
        self._arguments = ["--loop", loop, "--timeout-graceful-shutdown", str(graceful)]
        self._arguments += ["--app-dir", str(package or ROOT)]  # which uvicorn puts first
        kept = {key: text for key, text in os.environ.items() if not key.startswith("ASGI_CACHE_")}
        self.package = str((package or ROOT) / "asgi_cache" / "__init__.py")
        """Where its code comes from."""
        self._environment = {
            **kept,
            OPTIONS: json.dumps(options),
            WORKER: name,
            "PYTHONPATH": str(ROOT),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._said: queue.Queue[str] = queue.Queue()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with it
        self._reading: threading.Thread | None = None

    # ------------------------------------------------------------------ to live and to die

    def start(self) -> None:
        """Start, without waiting until it serves."""
        self.port = free_port()
        self.started += 1
        command = [sys.executable, "-P", "-m", "uvicorn", "tests.lifecycle.app:create"]
        command += ["--factory", "--port", str(self.port), "--log-level", "warning"]
        self._process = process = subprocess.Popen(
            command + self._arguments,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        said: queue.Queue[str] = queue.Queue()
        self._said = said

        def read() -> None:
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    said.put(line.decode().strip())

        self._reading = threading.Thread(target=read, daemon=True)
        self._reading.start()

    def wait(self) -> None:
        """Return when it serves; where it ended, somebody else had its port: start it again."""
        for _ in range(ATTEMPTS):
            deadline = time.monotonic() + READY_SECONDS
            while time.monotonic() < deadline:
                if self.serves() and self._is_itself():
                    return
                assert self._process is not None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.02)  # for an early end, and for the next look
                    break
            else:
                break
            self.start()
        self.kill()
        raise RuntimeError(f"the worker {self.name} did not start:\n{self.log()}")

    def serves(self) -> bool:
        """Whether it takes connections."""
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 5).close()
            return True
        return False

    def _is_itself(self) -> bool:
        """Whether it is this worker that does, and not another process that got its port first."""
        assert self._process is not None
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._asked("/control/pid") == b"%d" % self._process.pid
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def open(self) -> None:
        """Let go what waits in the app."""
        self.signal(signal.SIGUSR1)

    def end(self) -> None:
        """SIGTERM; returns when it takes no connections any more."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + LATE_SECONDS
        while self.serves():
            assert time.monotonic() < deadline, f"{self.name} goes on:\n{self.log()}"

    def ended(self) -> None:
        """Return when it has ended by itself, in order and without a complaint."""
        assert self._process is not None
        try:
            self._process.wait(LATE_SECONDS)
        except subprocess.TimeoutExpired:
            log = self.log()
            self.kill()
            raise AssertionError(f"{self.name} did not end:\n{log}") from None
        assert self._reading is not None
        self._reading.join(LATE_SECONDS)
        self._process = None

    def kill(self) -> None:
        """SIGKILL, where it still runs."""
        self.kills += 1
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert self._reading is not None
        self._reading.join(LATE_SECONDS)

    # ------------------------------------------------------------------ what it says

    def reached(self, times: int = 1) -> None:
        """Return when so many more calls of the app wait to be let go."""
        for _ in range(times):
            said = self._said.get(timeout=LATE_SECONDS)
            assert said == "reached"

    def log(self) -> str:
        """What it has complained of so far."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def check_log(self) -> None:
        """An AssertionError where it has said what it should not."""
        log = self.log()
        for sign in BAD_SIGNS:
            assert sign not in log, f"{self.name}:\n{log[-5000:]}"

    def state(self) -> dict[str, Any]:
        """What it holds, by a connection that is closed again."""
        state = json.loads(self._asked("/control/state"))
        assert isinstance(state, dict)
        return state

    def _asked(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LATE_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Connection": "close"})
            return connection.getresponse().read()

    def memory(self, name: str) -> int:
        """A figure of ``/proc/<pid>/status`` in bytes, such as VmHWM, the most it ever held."""
        assert self._process is not None
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def forget_peak(self) -> None:
        """Have VmHWM begin at what is held now."""
        assert self._process is not None
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def __enter__(self) -> Self:
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._log.close()


@contextlib.contextmanager
def running(*workers: Worker) -> Iterator[None]:
    """All of *workers*, started at the same time."""
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait()
        yield
    finally:
        for worker in workers:
            worker.__exit__()


@contextlib.asynccontextmanager
async def cache_of(url: str, namespace: str) -> AsyncIterator[asgi_cache.Cache]:
    """To purge by, from outside of the workers."""
    cache = asgi_cache.Cache(store=url, namespace=namespace, **PATIENT)
    yield cache
    await cache.aclose()
