"""``python -m benchmarks.growth``: what a hit, a store and a purge cost with a thousand, a hundred
thousand and a million stored responses, what a stored response takes of memory, near and in Redis,
and how many round trips each kind of request makes.

Every number of responses has a process and a Redis of its own; rounds are interleaved over them.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.growth.worker import BODY
from benchmarks.placement import Placement, pinned
from benchmarks.processes import ROOT, MissingError, NotAHitError, redis_at, require
from benchmarks.report import Spread, command_line, machine, positive, write
from benchmarks.running import finish

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

STORES: Final = ("memory", "near", "redis")
FULL: Final = (1_000, 100_000, 1_000_000)
QUICK: Final = (1_000, 20_000)
FLAT: Final = 0.20
"""By how much more than with the fewest a cost may be with the most."""
NEAR_OVERHEAD: Final = 1536
"""Bytes that a response near may take besides its body."""
COSTS: Final = {
    "hit": "a hit",
    "store": "a stored miss",
    "purge_group": "the purge of a group",
    "purge_all": "the purge of everything",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_line("growth", str(__doc__), "a thousand and 20 thousand; 3 rounds")
    parser.add_argument(
        "--count", action="append", type=positive, help="stored responses; may be repeated"
    )
    parser.add_argument(
        "--without", action="append", default=[], choices=STORES, help="may be repeated"
    )
    options = parser.parse_args(argv)
    return finish(lambda: run(options))


class Worker:
    """A process that holds so many responses; a context manager."""

    def __init__(self, store: str, redis: str, count: int) -> None:
        self.count = count
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.growth.worker", store, redis, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.filled = self._answer()

    def ask(self, what: str) -> dict[str, float]:
        """A ``round``, or the ``end``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            raise MissingError(f"the process with {self.count} responses ended; see above")
        answer: dict[str, Any] = json.loads(said)
        if "failed" in answer:
            raise NotAHitError(answer["failed"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.terminate()
        self._process.wait()


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write."""
    require(["uvloop", "rich", "matplotlib"])
    rounds = options.rounds or (3 if options.quick else 7)
    counts = sorted(set(options.count or (QUICK if options.quick else FULL)))
    if options.redis:
        raise MissingError("--redis cannot be given here: every number has a Redis of its own")
    about = {
        "benchmark": "growth",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rounds": rounds,
        "quick": options.quick,
        "body_bytes": len(BODY),
        "counts": counts,
    }
    rows = [measure(store, counts, rounds) for store in STORES if store not in options.without]
    content = {**about, "rows": rows, "goals": judge(rows)}
    show(content)
    from benchmarks.charts import growth_chart

    print("written:", write(options.out, "growth", content))
    print("written:", growth_chart(options.out, content, in_words(content)))


def measure(store: str, counts: Sequence[int], rounds: int) -> dict[str, Any]:
    """A row: one store, with each number of responses."""
    placement = Placement.here()
    with contextlib.ExitStack() as stack:
        workers = []
        for count in counts:
            with pinned(placement.redis if placement else None):
                url = stack.enter_context(redis_at(""))
            with pinned(placement.server if placement else None):
                workers.append(stack.enter_context(Worker(store, url, count)))
        taken = [[worker.ask("round") for worker in workers] for _ in range(rounds + 1)][1:]
        ends = [worker.ask("end") for worker in workers]
    cells = []
    for place, worker in enumerate(workers):
        of_count = [one[place] for one in taken]
        cell: dict[str, Any] = {"count": worker.count}
        for cost in ("hit", "store", "purge_group"):
            cell[cost] = asdict(Spread.of([one[cost] for one in of_count]))
        cell["purge_all"] = asdict(Spread.of([ends[place]["purge_all"]]))
        cell["purge_full_group"] = ends[place]["purge_full_group"]
        cell |= {name: worker.filled[name] for name in ("near_bytes", "far_bytes")}
        cells.append(cell)
    grown = {cost: cells[-1][cost]["median"] / cells[0][cost]["median"] for cost in COSTS}
    return {"store": store, "cells": cells, "grown": grown, "trips": workers[0].filled["trips"]}


def judge(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each goal with its figure, and whether it was reached."""
    judged = []
    for row in rows:
        for cost, words in COSTS.items():
            figure = row["grown"][cost]
            text = f"{row['store']}: {words} costs at most {1 + FLAT:g} x what it does with few"
            judged.append({"text": text, "figure": figure, "reached": figure <= 1 + FLAT})
        if row["store"] != "redis":
            # With few the allocator's steps are most of it.
            figure = row["cells"][-1]["near_bytes"] - len(BODY)
            text = f"{row['store']}: a response takes at most {NEAR_OVERHEAD} bytes and its body"
            judged.append({"text": text, "figure": figure, "reached": figure <= NEAR_OVERHEAD})
    return judged


def in_words(content: dict[str, Any]) -> str:
    """The conditions."""
    at = content["machine"]
    return (
        f"{at['cores']} cores, Python {at['python']}, uvloop, bodies of {content['body_bytes']} "
        f"bytes, {content['rounds']} interleaved rounds; medians"
    )


def show(content: dict[str, Any]) -> None:
    """The table, and which goals were reached."""
    print(in_words(content))
    head = ["", "responses", "hit", "store", "purge group", "purge all", "near bytes", "far bytes"]
    print("".join(f"{text:>13}" for text in head))
    for row in content["rows"]:
        for cell in row["cells"]:
            figures = [f"{cell[cost]['median']:.1f} us" for cost in COSTS]
            figures += [f"{cell[name]:,.0f}" for name in ("near_bytes", "far_bytes")]
            cells = [row["store"], f"{cell['count']:,}", *figures]
            print("".join(f"{text:>13}" for text in cells))
        for kind, made in row["trips"].items():
            print(f"{row['store']}: {kind}: {made['trips']:g} round trips, ", end="")
            print(f"{made['commands']:g} commands")
    for goal in content["goals"]:
        reached = "reached" if goal["reached"] else "NOT REACHED"
        print(f"{goal['text']}: {goal['figure']:.2f}, {reached}")


if __name__ == "__main__":
    sys.exit(main())
