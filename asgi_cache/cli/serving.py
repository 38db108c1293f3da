"""What serving an app from the command line takes: the app that was named, and a socket.

Everything that a person can mend is a :class:`CommandError` of one line. What must not be here: the
cache, options, what is printed.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import inspect
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asgi_cache import CacheError, CacheMiddleware, TimingMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp

BACKLOG: Final = 2048
"""Connections that may wait to be accepted, as many as uvicorn asks for."""


class CommandError(CacheError):
    """What was asked for cannot be done; the text is for whoever asked."""


class PortInUseError(CommandError):
    """Another program listens there."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that what is wrong with an address is found, and said, here."""
    place = f"port {port} on {host}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # With its protocol named: else asyncio does not set TCP_NODELAY on what it accepts, and
        # a response in two pieces takes 40 ms longer.
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CommandError(f"cannot listen on {place}: {error.strerror}") from None
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(f"{place} is in use; choose another with --port") from None
        raise CommandError(f"cannot listen on {place}: {error.strerror}") from None
    return listening


def url_of(listening: socket.socket) -> str:
    """The URL, without a path, under which this machine reaches what listens there."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def load_app(reference: str, *, factory: bool = False) -> ASGIApp:
    """The ASGI app that ``module:app`` names; the current directory is looked in first.

    *factory*: it is a function that makes the app. Raises CommandError.
    """
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    name, _, attribute = reference.partition(":")
    if not attribute or not all(part.isidentifier() for part in name.split(".")):
        raise CommandError(
            f"{reference!r} is not of the form module:app, for example shop.main:app"
        )
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise CommandError(f"importing {name} raised {described(error)}") from None
        raise CommandError(f"{error} (looked for in {directory} first)") from None
    except (Exception, SystemExit) as error:  # the user's own code
        raise CommandError(f"importing {name} raised {described(error)}") from None
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise CommandError(f"{reference}: {error}") from None
    if factory:
        try:
            found = found()
        except (Exception, SystemExit) as error:  # the user's own code
            raise CommandError(f"{reference}() raised {described(error)}") from None
    return checked_app(found, f"{reference}()" if factory else reference)


def checked_app(app: Any, name: str) -> ASGIApp:
    """*app*, if it can be served behind a cache."""
    if isinstance(app, TimingMiddleware | CacheMiddleware):
        raise CommandError(f"{name} is behind asgi-cache already: serve it as it is")
    if not callable(app):
        raise CommandError(f"{name} is no ASGI app: it is of type {type(app).__name__}")
    with contextlib.suppress(ValueError):  # no signature to be had
        try:
            inspect.signature(app).bind(None, None, None)
        except TypeError:
            raise CommandError(
                f"{name} is no ASGI app: it does not take (scope, receive, send); "
                "if it makes the app, add --factory"
            ) from None
    served: ASGIApp = app
    return served


def described(error: BaseException) -> str:
    """*error* in one line, with the place where it happened: in the user's own code, if there."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename[0] != "<"]
    own = [one for one in frames if is_own(Path(one.filename))]
    places = [f"{shortened(one.filename)}, line {one.lineno}" for one in own or frames]
    if isinstance(error, SyntaxError) and error.filename:
        places.append(f"{shortened(error.filename)}, line {error.lineno}")
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = text.strip().partition("\n")[0]
    place = f" ({places[-1]})" if places else ""
    return f"{type(error).__name__}{': ' if first else ''}{first}{place}"


def is_own(path: Path) -> bool:
    """Whether *path* is the user's own code, and not in a virtual environment beside it."""
    return path.is_relative_to(Path.cwd()) and "site-packages" not in path.parts


def shortened(filename: str) -> str:
    """*filename* as it is seen from the current directory."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
