"""The ASGI servers that the suite is run with, and how each is told to add nothing of its own.

Their own fields are off where a server has a switch, and none trusts X-Forwarded-*, which would
edit the scope: uvicorn is told so, granian and hypercorn only do so through wrappers of theirs.

What cannot be switched off: granian sends `server: granian`, and a `date` where the app sends none.
The suite looks at no Server, and skips Date when it compares fields; with granian it gives the same
results test by test. uvicorn cannot send the status 999 by which the suite's origin says that it
expected a conditional request, and breaks off; the others pass it on. Either way the test fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
APP = "tests.conformance.serve:create"


@dataclass(frozen=True)
class Server:
    """An ASGI server: the modules it needs, and its arguments after `python`."""

    modules: tuple[str, ...]
    arguments: tuple[str, ...]

    def command(self, python: str, port: int) -> list[str]:
        """What starts it."""
        return [python, *(part.replace("{port}", str(port)) for part in self.arguments)]


KEEP_ALIVE = "120"
"""Seconds: on a busy machine the suite's client uses a connection again after more than the usual
five, which is reset then."""
UVICORN = (
    *("-m", "uvicorn", APP, "--factory", "--host", "127.0.0.1", "--port", "{port}"),
    *("--no-server-header", "--no-date-header", "--no-proxy-headers", "--no-access-log"),
    *("--ws", "none", "--lifespan", "on", "--log-level", "warning"),
    *("--timeout-graceful-shutdown", "2", "--timeout-keep-alive", KEEP_ALIVE),
)
SERVERS: Mapping[str, Server] = {
    "uvicorn-h11": Server(("uvicorn", "h11"), (*UVICORN, "--http", "h11", "--loop", "asyncio")),
    "uvicorn-httptools": Server(
        ("uvicorn", "httptools", "uvloop"), (*UVICORN, "--http", "httptools", "--loop", "uvloop")
    ),
    # One worker, a child of the process that is stopped, which stops it in turn.
    "granian": Server(
        ("granian",),
        (
            *("-m", "granian", APP, "--factory", "--interface", "asgi", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", "{port}", "--http", "1", "--no-ws"),
            *("--loop", "asyncio", "--no-access-log", "--log-level", "warning"),
            *("--workers-kill-timeout", "2"),
        ),
    ),
    # Without workers it serves in the process that was started.
    "hypercorn": Server(
        ("hypercorn",),
        (
            *("-m", "hypercorn", f"{APP}()", "--bind", "127.0.0.1:{port}", "--workers", "0"),
            *("--config", str(HERE / "hypercorn.toml"), "--log-level", "warning"),
            *("--graceful-timeout", "2", "--keep-alive", KEEP_ALIVE),
        ),
    ),
}
