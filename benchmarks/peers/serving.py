"""``python -m benchmarks.peers.serving``: one server with one app, for the benchmark only.

It says on stdout on which port it answers, once it does, and ends when its stdin is closed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Final

from benchmarks.peers.apps import APPS, CONFIGURATION

SERVERS: Final = ("uvicorn", "granian")
_FACTORY: Final = "benchmarks.peers.apps:make"
_SECONDS_TO_START: Final = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.serving", description=__doc__)
    parser.add_argument("app", choices=APPS)
    parser.add_argument("--server", choices=SERVERS, default="uvicorn")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--redis", default="")
    parser.add_argument("--calls", required=True, help="the folder in which calls are counted")
    options = parser.parse_args()
    # Workers are processes that begin anew.
    os.environ[CONFIGURATION] = json.dumps(
        {"app": options.app, "redis": options.redis, "calls": options.calls}
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    threading.Thread(target=_announce, args=(port,), daemon=True).start()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if options.server == "granian":
        with_granian(port, options.workers)
    else:
        with_uvicorn(port, options.workers)


def with_uvicorn(port: int, workers: int) -> None:
    import uvicorn

    uvicorn.run(
        _FACTORY,
        factory=True,
        port=port,
        workers=workers,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        # An app that fails does so thousands of times a second.
        log_level="critical",
        timeout_keep_alive=3600,
    )


def with_granian(port: int, workers: int) -> None:
    from granian import Granian
    from granian.constants import Interfaces, Loops

    Granian(
        _FACTORY,
        factory=True,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        websockets=False,
        log_enabled=False,
    ).serve()


def _announce(port: int) -> None:
    """Say on stdout when *port* accepts connections."""
    give_up_at = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            print(port, flush=True)
            return
    print(f"nothing answers on port {port}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_with_parent() -> None:
    """End when whoever started this has ended, however that happened."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
