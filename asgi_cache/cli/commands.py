"""The commands of the command line, each a function of its options.

What needs the extra ``cli`` is imported by the command that uses it, so that the others work
without. What must not be here: the options themselves, and how errors are told (``cli``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asgi_cache import Cache, StoreError, wrap
from asgi_cache.cli.asking import close, near_tier, seconds_to_answer, take_something, unlogged
from asgi_cache.cli.serving import CommandError, PortInUseError, listen, load_app, url_of
from asgi_cache.settings import Settings, load
from asgi_cache.settings.files import FOUND, GIVEN, File
from asgi_cache.settings.loading import configuration_file
from asgi_cache.settings.sources import DEFAULT, read_number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.console import Console

DEFAULT_PORT: Final = 8000
MEMORY: Final = "memory://"


def demo(options: argparse.Namespace) -> None:
    """Serve a small shop behind the cache and show what the cache does."""
    from asgi_cache.demo import story as demo

    settings = demo.settings_of(MEMORY if options.store is None else options.store)
    console = make_console()
    if settings.store != MEMORY:
        with unlogged():
            asyncio.run(seconds_to_answer(settings))
    try:
        cached = listen(options.host, DEFAULT_PORT if options.port is None else options.port)
    except PortInUseError:
        if options.port is not None:
            raise
        cached = listen(options.host, 0)
        taken = cached.getsockname()[1]
        console.print(f"Port {DEFAULT_PORT} is in use, so this takes {taken}.", highlight=False)
    with cached, listen(options.host, 0) as uncached, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(demo.demonstrate(settings, cached, uncached, console, once=options.once))


def run(options: argparse.Namespace) -> None:
    """Serve an app behind the cache."""
    import uvicorn

    settings, _ = load_settings(options, options.ttl)
    app = wrap(load_app(options.app, factory=options.factory), settings)
    if settings.store != MEMORY:
        with unlogged():
            asyncio.run(seconds_to_answer(settings))
    listening = listen(options.host, options.port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    rules = f"{len(settings.paths)} path rule{'' if len(settings.paths) == 1 else 's'}"
    say(
        f"{options.app} is served on {url_of(listening)}/ behind asgi-cache "
        f"(store {settings.shown()['store']}, {rules}). Ctrl-C ends it."
    )
    with listening, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


def check(options: argparse.Namespace) -> None:
    """Show the settings in force and whether the store answers, and the near tier is on."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    settings, sources = load_settings(options)
    with unlogged():
        answer = answer_of(settings, sources["store"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("source", overflow="fold")
    for name, value in settings.shown().items():
        style = "dim" if sources[name] == DEFAULT else "bold"
        table.add_row(name, Text(in_words(value)), Text(sources[name]), style=style)
    make_console().print(table)
    say(f"file: {told_of(configuration_file(options.config, Path()))}")
    say(f"store: {settings.shown()['store']} {answer}")


def answer_of(settings: Settings, source: str) -> str:
    """What there is to say of the store, named by *source*. Raises CommandError."""
    if settings.store == MEMORY:
        return "lies in each server process: there is nothing to connect to"
    seconds = asyncio.run(seconds_to_answer(settings, f" (from {source})"))
    asyncio.run(take_something(settings, source))
    answer = f"answers in {seconds * 1e3:.1f} ms"
    if seconds <= settings.store_timeout:
        return f"{answer}\nnear tier: {asyncio.run(near_tier(settings, source))}"
    return (
        f"{answer}, after store_timeout ({settings.store_timeout:g} s): requests would go on "
        "without the cache"
    )


def told_of(file: File | None) -> str:
    """Which file the settings are from, and whether an app reads the same one."""
    if file is None:
        return "none (an app reads the one that ASGI_CACHE_CONFIG names, and no other)"
    if file.how not in (GIVEN, FOUND):
        return f"{file.name}, {file.how}, for an app as well"
    return (
        f"{file.name}, {file.how}. An app does not read it unless told to: "
        f"ASGI_CACHE_CONFIG={shlex.quote(str(file.path.absolute()))}"
    )


def purge(options: argparse.Namespace) -> None:
    """Purge a URL, a group or everything."""
    settings, _ = load_settings(options)
    if settings.store == MEMORY:
        raise CommandError(
            "the store is memory://, which lies in each server process: a purge from here would "
            "reach none. Name the servers' store (--store, ASGI_CACHE_STORE or a file), or purge "
            "in the app: await asgi_cache.from_scope(scope).purge(...)"
        )
    if options.all_queries and options.url is None:
        raise CommandError("--all-queries goes with a URL")
    shown = settings.shown()["store"]
    try:
        with unlogged():
            asyncio.run(carry_out(settings, options))
    except StoreError as error:
        raise CommandError(f"the purge may not have reached {shown}: {error}") from None
    if options.all:
        what = "everything"
    elif options.group is not None:
        what = f"group {options.group}"
    else:
        what = f"{options.url} ({'whatever the query' if options.all_queries else 'every variant'})"
    done = "made stale" if options.soft else "purged"
    say(f"{done}: {what}, in {shown}, namespace {settings.namespace}")


def make_console() -> Console:
    """Where tables go; whoever stops reading them ends the command, as with :func:`say`."""
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return PlainConsole()


async def carry_out(settings: Settings, options: argparse.Namespace) -> None:
    """The purge that *options* ask for."""
    async with contextlib.AsyncExitStack() as stack:
        cache = Cache(settings)
        stack.push_async_callback(close, cache)
        if options.all:
            await cache.purge_all(soft=options.soft)
        else:
            await cache.purge(
                options.url,
                group=options.group,
                all_queries=options.all_queries,
                soft=options.soft,
            )


def load_settings(
    options: argparse.Namespace, given_ttls: Sequence[str] = ()
) -> tuple[Settings, dict[str, str]]:
    """The settings in force here, and each one's source."""
    overrides: dict[str, object] = {}
    if options.store is not None:
        overrides["store"] = options.store
    if given_ttls:
        overrides["paths"] = paths_of(given_ttls)
    return load(options.config, overrides, directory=Path())


def paths_of(given_ttls: Sequence[str]) -> dict[str, object]:
    """``TEMPLATE=SECONDS``, several times, as the setting ``paths``. Raises CommandError."""
    paths: dict[str, object] = {}
    for text in given_ttls:
        template, equals, value = text.rpartition("=")
        if not equals:
            raise CommandError(
                f"--ttl {text!r}: allowed is TEMPLATE=SECONDS, '/products/{{id}}=60'"
            )
        if template in paths:
            raise CommandError(f"--ttl {text!r}: {template} is there already")
        paths[template] = False if value == "false" else read_number(value)
    return paths


def in_words(value: object) -> str:
    """A setting's value as a person reads it."""
    if isinstance(value, Mapping):
        rules = [f"{template} = {in_json(rounded(rule))}" for template, rule in value.items()]
        return "\n".join(rules) or "-"
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, str):
        return value
    return "-" if value is None else in_json(value)


def rounded(rule: object) -> object:
    """*rule* with its whole seconds as whole numbers, as people write them."""
    if not isinstance(rule, Mapping):
        return rule
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in rule.items()
    }


def in_json(value: object) -> str:
    """*value* in JSON."""
    return json.dumps(value, ensure_ascii=False)


def say(line: str) -> None:
    """Write *line*, at once also where somebody waits for it at a pipe's end."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
