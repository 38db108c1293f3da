"""``python -m benchmarks.peers``: asgi_cache beside the bare app, beside other caches for Python,
and beside nginx and Varnish, all before an app that does no work but send its body.

What is called cached proves that it is, by response fields, by a count of the app's calls and by
what Redis was asked. Redis and the load have a core of their own where there is one.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from benchmarks.load import choose
from benchmarks.peers.environments import FOLDER, install, version_of
from benchmarks.peers.reporting import show, summarize
from benchmarks.peers.rounds import counted, present, serving, take_rounds
from benchmarks.peers.targets import BARE, NAMES, TARGETS, Cell, cells
from benchmarks.placement import Placement, pinned
from benchmarks.processes import redis_at, require
from benchmarks.report import describe, in_words, load_arguments, write
from benchmarks.running import finish, progress_bar

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

ROUNDS: Final = 7
MODULES: Final = ("uvicorn", "uvloop", "httptools", "rich", "matplotlib")


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse_args(argv)
    return finish((lambda: install(FOLDER)) if options.install else lambda: run(options))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = load_arguments("peers", str(__doc__), NAMES, "3 rounds of 1 s; about a minute")
    parser.add_argument(
        "--without", action="append", default=[], choices=NAMES, help="may be repeated"
    )
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="uvicorn and granian, 1 and 2 workers, 1, 32 and 256 connections, 1 and 64 KB: hours",
    )
    parser.add_argument("--server", choices=("uvicorn", "granian"), default="uvicorn")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=1)
    parser.add_argument("--size", type=int, choices=(1024, 65536), default=1024, help="of bodies")
    parser.add_argument(
        "--again", type=int, help="at most so many disturbed rounds are taken again; default: all"
    )
    parser.add_argument(
        "--install", action="store_true", help=f"install the peers into {FOLDER.name}/, and end"
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write."""
    require(MODULES)
    tool = choose(options.load)
    rounds = options.rounds or (3 if options.quick else ROUNDS)
    again = options.again if options.again is not None else (0 if options.quick else rounds)
    seconds = options.seconds or (1 if options.quick else 3)
    only = options.only or []
    wanted = [
        target
        for target in TARGETS
        if (not only or target.name in [*only, BARE]) and target.name not in options.without
    ]
    if BARE in options.without:
        raise SystemExit(f"--without: {BARE!r} is what the others are compared with")
    targets, missing = present(wanted, only)
    for name, why in missing.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    main_cell = Cell(options.server, options.workers, options.connections, options.size)
    about = describe(options, tool, rounds, seconds)
    about["server"] = main_cell.in_words()
    about["versions"] = {
        name: version_of(target.peer, target.proxy)
        for target in targets
        if (name := target.proxy or target.peer or "asgi-cache")
    }
    if options.redis == "":
        about["redis"] = (
            "a local one, started for this, over TCP, on a core of its own or the load's"
        )
    measured: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        placement = Placement.here()
        with pinned(placement.redis if placement else None):
            url = stack.enter_context(redis_at(options.redis))
        from redis import Redis

        redis = stack.enter_context(contextlib.closing(Redis.from_url(url)))
        bar = stack.enter_context(progress_bar())
        over = cells(main_cell, matrix=options.matrix)
        task = bar.add_task("", total=len(over) * rounds * len(targets))

        def progress(text: str) -> None:
            bar.update(task, description=text)
            bar.advance(task)

        for cell in over:
            placement = Placement.here(cell.workers)
            with serving(targets, cell, url, placement) as served:
                taken = take_rounds(
                    *(targets, served, cell, redis, (tool, seconds), (rounds, again)),
                    placement,
                    progress,
                )
            measured.append(summarize(cell, targets, taken, counted(taken, rounds), placement))
    content = {
        "benchmark": "peers",
        **about,
        "cores": os.cpu_count(),
        "missing": missing,
        **measured[0],
        "cells": measured[1:],
    }
    show(content)
    from benchmarks.charts import peers_chart

    print("written:", write(options.out, "peers", content))
    print("written:", peers_chart(options.out, content, in_words(about)))


if __name__ == "__main__":
    sys.exit(main())
