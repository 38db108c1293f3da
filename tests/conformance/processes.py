"""Child processes that listen on a port: started, awaited, and stopped whatever happens."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 20.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02


class MissingComponentError(Exception):
    """Something that the harness needs is not on this machine."""


class HarnessError(Exception):
    """A part of the harness failed, so that there is nothing to score."""


@dataclass(frozen=True)
class Listener:
    """A running process, and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = 20) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def check_alive(self) -> None:
        """Raise where it has ended by itself."""
        if (code := self.process.poll()) is not None:
            raise HarnessError(f"{self.name} exited with {code}:\n{self.tail()}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def listening(
    name: str,
    command: Sequence[str],
    port: int,
    scratch: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Listener]:
    """`command`, from when it accepts connections on `port` until the block is left."""
    log = scratch / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C goes to this process alone, which then stops its children in order.
            start_new_session=True,
        )
    listener = Listener(name, process, log)
    try:
        _await_port(listener, port)
        yield listener
    finally:
        _stop(process)


def _await_port(listener: Listener, port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            listener.check_alive()  # and not somebody else who was quicker to take the port
            return
        # Waits for an early death and for the next look at once.
        with contextlib.suppress(subprocess.TimeoutExpired):
            listener.process.wait(POLL_SECONDS)
        listener.check_alive()
        if time.monotonic() > deadline:
            said = listener.tail()
            raise HarnessError(f"{listener.name} did not listen on {port} in time:\n{said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    # It and whatever it left behind: workers of a server are in the session that was made for it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
