"""Interleaved rounds over all targets of a cell; those that something disturbed are repeated."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.disturbance import Disturbance, Look, disturbed
from benchmarks.peers.environments import program, python_of
from benchmarks.peers.measuring import Measured, Served, measure
from benchmarks.peers.proxies import proxy_before
from benchmarks.peers.targets import BARE, Cell, Target
from benchmarks.placement import Placement, pinned
from benchmarks.processes import MissingError, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import Redis

FEWEST_NEW: Final = 8000
"""New URLs for each second of a load of misses."""


@dataclass
class Round:
    """Every target once, one after the other."""

    measured: dict[str, Measured]
    disturbance: Disturbance | None
    reason: str = field(default="")
    """Why it does not count; empty: it does."""


def present(
    targets: Sequence[Target], asked_for: Sequence[str]
) -> tuple[list[Target], dict[str, str]]:
    """Those of *targets* that can be measured here, and why not of the others.

    Raises :class:`MissingError` for one that was *asked_for* by its name.
    """
    found, missing = [], {}
    for target in targets:
        try:
            if target.proxy:
                program(target.proxy)
            python_of(target.peer)
        except MissingError as error:
            if target.name in asked_for:
                raise
            missing[target.name] = str(error)
        else:
            found.append(target)
    return found, missing


@contextlib.contextmanager
def serving(
    targets: Sequence[Target], cell: Cell, redis: str, placement: Placement | None
) -> Iterator[dict[str, Served]]:
    """A server for each app, of the kind and with the workers of *cell*; by the target's name."""
    cores = placement.server if placement else None
    with contextlib.ExitStack() as stack:
        served: dict[str, Served] = {}
        for target in targets:
            if target.app not in served:
                calls = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-calls-"))
                arguments = ("--server", cell.server, "--workers", str(cell.workers))
                with pinned(cores):
                    server = Server(
                        *(target.app, *arguments, "--redis", redis, "--calls", calls),
                        module="benchmarks.peers.serving",
                        python=python_of(target.peer),
                    )
                stack.enter_context(server)
                served[target.app] = Served(server.port, calls, server.pid, cell.workers)
        by_name = {}
        for target in targets:
            of_app = served[target.app]
            if target.proxy:
                with pinned(cores):
                    before = proxy_before(target.proxy, of_app.port, cell.workers)
                    port, pid = stack.enter_context(before)
                of_app = of_app._replace(port=port, pid=pid)
            by_name[target.name] = of_app
        yield by_name


def take_rounds(
    targets: Sequence[Target],
    served: dict[str, Served],
    cell: Cell,
    redis: Redis,
    how: tuple[str, float],
    counts: tuple[int, int],
    placement: Placement | None,
    progress: Callable[[str], None],
) -> list[Round]:
    """As many rounds as *counts* says, and at most its second number more for disturbed ones."""
    tool, seconds = how
    wanted, spare = counts
    rounds: list[Round] = []
    while len(rounds) < wanted + spare:
        before = Look.now()
        measured: dict[str, Measured] = {}
        for target in targets:
            progress(f"{cell.in_words()}: round {len(rounds) + 1}, {target.name}")
            # More than the bare app, which is faster, has just answered; or was kept from.
            new = 2 * measured[BARE].sample.requests if BARE in measured else 0
            requests = target.requests(
                cell.size,
                f"{cell.server}{id(rounds)}-{len(rounds)}",
                max(new, int(FEWEST_NEW * seconds)),
            )
            measured[target.name] = measure(
                target,
                served[target.name],
                redis,
                requests,
                (tool, seconds, cell.connections),
                placement,
            )
        after = Look.now()
        seen = after.since(before) if before is not None and after is not None else None
        rounds.append(Round(measured, seen))
        rates = [one.measured[BARE].sample.per_second for one in rounds]
        reasons = disturbed(rates, [one.disturbance for one in rounds])
        for one, reason in zip(rounds, reasons, strict=True):
            one.reason = reason
        if sum(not one.reason for one in rounds) >= wanted:
            break
        if len(rounds) >= wanted and rounds[-1].reason:
            print(f"round {len(rounds)} was disturbed: {rounds[-1].reason}", file=sys.stderr)
    return rounds


def counted(rounds: Sequence[Round], wanted: int) -> list[Round]:
    """The *wanted* rounds that count: undisturbed ones first, in the order they were taken."""
    order = sorted(range(len(rounds)), key=lambda n: (bool(rounds[n].reason), n))
    return [rounds[n] for n in sorted(order[:wanted])]
