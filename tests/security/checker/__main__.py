"""The command: a run, its figures on the screen and in a file; exit 1 where something was wrong."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import machine
from tests.figures.telling import tell as tell_figures
from tests.security.checker.running import Plan, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.security.checker.running import Outcome


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.security.checker")
    enough = parser.add_mutually_exclusive_group(required=True)
    enough.add_argument("--seconds", type=float, help="how long to ask")
    enough.add_argument("--responses", type=int, help="how many answers to judge")
    parser.add_argument("--workers", type=int, default=4, help="processes (4)")
    parser.add_argument("--clients", type=int, default=10, help="in each worker (10)")
    parser.add_argument("--seed", type=int, default=1, help="of what is asked and goes wrong (1)")
    parser.add_argument("--faults", choices=["on", "off"], default="on")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser.parse_args(arguments)


def told(outcome: Outcome) -> str:
    """What a reader wants to see of *outcome*."""
    figures = outcome.figures
    lines = [f"{name}: {value}" for name, value in figures.items()]
    for one in outcome.shown:
        lines += ["", f"WRONG at worker {one['worker']}: " + "; ".join(one["wrong"])]
        lines += [f"  {name}: {one[name]}" for name in ("asked", "got", "told", "timing", "fault")]
        lines += [f"    {event}" for event in one["history"]]
    lines += [f"PROBLEM: {problem}" for problem in outcome.problems]
    by_kind = "".join(f", {number} {kind}" for kind, number in sorted(outcome.wrong.items()))
    lines.append(f"{figures['checked']} answers checked, {figures['wrong']} wrong{by_kind}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, tell, write; the exit status."""
    options = _options(arguments)
    plan = Plan(
        seconds=options.seconds,
        responses=options.responses,
        workers=options.workers,
        clients=options.clients,
        seed=options.seed,
        faults=options.faults == "on",
    )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    where = machine()

    def tell(judged: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{judged} answers judged", end="", file=sys.stderr)

    outcome = run(plan, tell)
    print(told(outcome))
    figures = outcome.figures
    wrong = figures["wrong"] + len(outcome.problems)
    tell_figures("wrong bytes", checked=figures["checked"], wrong=wrong)
    if options.out is not None:
        wanted = {"checker": "random histories", "at": at, "machine": where}
        found = {"wrong_by_kind": outcome.wrong, "problems": outcome.problems}
        text = json.dumps({**wanted, **outcome.figures, **found, "first": outcome.shown}, indent=1)
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main())
