"""The command line: ``asgi-cache``, also ``python -m asgi_cache``.

Options, and how what goes wrong is told: whatever a person can mend is one line and exit code 2.
What must not be here: what the commands do (``commands``). Nothing imports this module.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from asgi_cache import CacheError, __version__
from asgi_cache.cli import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXTRA: Final = ("httpx", "rich", "uvicorn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Raises SystemExit for ``--help`` and wrong arguments."""
    options = make_parser().parse_args(arguments)
    try:
        options.command(options)
    except CacheError as error:
        sys.stderr.write(f"asgi-cache: {error}\n")
        return 2
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        sys.stderr.write(
            f"asgi-cache: {options.name} needs {error.name}, which is not installed: "
            "pip install 'asgi-cache[cli]'\n"
        )
        return 2
    except BrokenPipeError:  # whoever read has read enough; that nothing follows at exit:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130  # as a shell has it; commands that serve end well by it
    return 0


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit code 2, without the usage."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def make_parser() -> Parser:
    """All commands and their options."""
    parser = Parser(
        prog="asgi-cache",
        description="A shared HTTP cache in front of any ASGI app.",
        epilog="Settings come from options, then ASGI_CACHE_* variables, then one TOML file: that "
        "of --config or ASGI_CACHE_CONFIG, else asgi-cache.toml, else [tool.asgi-cache] in "
        "pyproject.toml, both in the current directory.",
    )
    parser.add_argument("--version", action="version", version=f"asgi-cache {__version__}")
    subparsers = parser.add_subparsers(
        title="commands", required=True, dest="name", metavar="COMMAND"
    )

    def add(name: str, command: Callable[[argparse.Namespace], None], text: str) -> Parser:
        one = subparsers.add_parser(name, help=command.__doc__, description=text)
        one.set_defaults(command=command)
        return one

    _add_demo_options(
        add(
            "demo",
            commands.demo,
            "Serve a small real shop behind the cache: ask it some requests, show what became of "
            "each, and go on serving it. It has settings of its own: --store, and defaults.",
        )
    )
    _add_run_options(
        add("run", commands.run, "Serve any ASGI app behind the cache; nothing in it changes.")
    )
    _add_settings_options(
        add(
            "check",
            commands.check,
            "Show every setting in force and where it came from, passwords hidden, and whether "
            "the store answers.",
        )
    )
    _add_purge_options(
        add(
            "purge",
            commands.purge,
            "Make what is stored for a URL (every variant), of a group, or everything invalid. "
            "Settings given in code (a namespace, rules that fold a query) are not known here.",
        )
    )
    return parser


def _add_demo_options(parser: Parser) -> None:
    _add_store_option(parser)
    _add_host_option(parser)
    parser.add_argument(
        "--port",
        type=port,
        metavar="PORT",
        help=f"port to serve on (default: {commands.DEFAULT_PORT}, or else a free one)",
    )
    parser.add_argument("--once", action="store_true", help="exit after the table")


def _add_run_options(parser: Parser) -> None:
    parser.add_argument("app", metavar="module:app", help="the ASGI app, as in shop.main:app")
    parser.add_argument(
        "--ttl",
        action="append",
        default=[],
        metavar="TEMPLATE=SECONDS",
        help="a path rule, '/products/{id}=60' or '/admin/{rest:path}=false' (never cached); may "
        "be repeated, the first match wins; together they replace the paths of every other source",
    )
    _add_settings_options(parser)
    _add_host_option(parser)
    parser.add_argument(
        "--port",
        type=port,
        metavar="PORT",
        default=commands.DEFAULT_PORT,
        help="port to serve on (default: %(default)s; 0: a free one)",
    )
    parser.add_argument(
        "--factory", action="store_true", help="module:app is a function that makes the app"
    )


def _add_purge_options(parser: Parser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "url", nargs="?", metavar="URL", help="an absolute URL; a path where authorities is set"
    )
    what.add_argument("--group", metavar="G", help="a cache group (RFC 9875), as in product:1")
    what.add_argument("--all", action="store_true", help="everything in the namespace")
    parser.add_argument("--all-queries", action="store_true", help="URL with whatever query")
    parser.add_argument("--soft", action="store_true", help="make it stale instead of removing it")
    _add_settings_options(parser)


def _add_settings_options(parser: Parser) -> None:
    _add_store_option(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file of settings")


def _add_store_option(parser: Parser) -> None:
    parser.add_argument(
        "--store", metavar="URL", help="memory://, redis://host:port/0, rediss://, unix://"
    )


def _add_host_option(parser: Parser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve on (default: %(default)s)"
    )


def port(text: str) -> int:
    """A port's number."""
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return number
