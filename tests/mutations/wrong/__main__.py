"""``python -m tests.mutations.wrong``: exit 1 where a wrong version is not caught."""

from __future__ import annotations

import argparse
import sys
import time

from tests.figures.telling import tell as tell_figures
from tests.mutations.wrong.listed import WRONG
from tests.mutations.wrong.running import Verdict, out_of_date, verdicts_of


def tell(verdict: Verdict) -> None:
    """A line for each, as it is known."""
    word = "caught  " if verdict.caught else "SURVIVED"
    print(f"{word} {verdict.seconds:5.1f} s  {verdict.wrong.name}: {verdict.said}", flush=True)


def main() -> int:
    """Choose, judge, sum up."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations.wrong", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="copies of the package at a time")
    parser.add_argument("--list", action="store_true", help="show the entries, run nothing")
    options = parser.parse_args()
    unknown = set(options.only or ()) - {wrong.name for wrong in WRONG}
    if unknown:
        print(f"no such entry: {', '.join(sorted(unknown))}")
        return 1
    chosen = [wrong for wrong in WRONG if options.only is None or wrong.name in options.only]
    if options.list:
        for wrong in chosen:
            print(f"{wrong.name:40} {wrong.cases:12} {wrong.named}")
        return 0
    stale = [(wrong.name, why) for wrong in chosen for why in out_of_date(wrong)]
    for name, why in stale:
        print(f"out of date: {name}: {why}")
    if stale:
        return 1
    started = time.monotonic()
    try:
        verdicts = verdicts_of(chosen, max(1, options.jobs), tell)
    except RuntimeError as error:
        print(error)
        return 1
    missed = [verdict for verdict in verdicts if not verdict.caught]
    seconds = time.monotonic() - started
    tell_figures(
        "wrong versions",
        versions=len(verdicts),
        caught=len(verdicts) - len(missed),
        survived=len(missed),
    )
    print(
        f"\n{len(verdicts)} wrong versions in {seconds:.0f} s: "
        f"{len(verdicts) - len(missed)} caught, {len(missed)} not"
    )
    for verdict in missed:
        print(f"{verdict.wrong.name} ({verdict.wrong.cases}): {verdict.said}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
