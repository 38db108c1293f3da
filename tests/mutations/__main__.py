"""``python -m tests.mutations``: exit 1 where a mutant survives that is not explained."""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from pathlib import Path
from typing import Final

from tests.mutations.running import verdicts_of
from tests.mutations.sites import Mutant, mutants_of

POLICY: Final = Path(__file__).parents[2] / "asgi_cache" / "policy"
TESTS: Final = "tests/policy"
EQUIVALENT: Final = Path(__file__).with_name("equivalent.toml")


def every_mutant(module: str | None = None) -> list[Mutant]:
    """Those of the whole policy, or of one module of it."""
    found: list[Mutant] = []
    for path in sorted(POLICY.glob("*.py")):
        if module in (None, path.stem):
            name = f"asgi_cache.policy.{path.stem}"
            found += mutants_of(name, path.read_text(encoding="utf-8"))
    return found


def explained() -> dict[str, str]:
    """The mutants that nobody can tell from the original, and why."""
    entries = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]
    return {entry["place"]: entry["reason"] for entry in entries}


def main() -> int:
    """Make the mutants, run the tests for each, tell the survivors."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--module", help="one of asgi_cache/policy, without .py")
    parser.add_argument("--limit", type=int, help="the first so many mutants only")
    parser.add_argument("--jobs", type=int, default=2, help="children at a time")
    options = parser.parse_args()
    mutants = every_mutant(options.module)[: options.limit]
    if not mutants:
        print("no such mutants")
        return 1
    started = time.monotonic()
    verdicts = verdicts_of(mutants, [TESTS], options.jobs)
    reasons = explained()
    survivors = [verdict.mutant for verdict in verdicts if not verdict.killed]
    unexplained = [mutant for mutant in survivors if mutant.place not in reasons]
    alive = {mutant.place for mutant in survivors}
    wrong = [
        mutant.place for mutant in mutants if mutant.place in reasons and mutant.place not in alive
    ]
    print(
        f"\n{len(verdicts)} mutants in {time.monotonic() - started:.0f} s: "
        f"{len(verdicts) - len(survivors)} killed, "
        f"{len(survivors) - len(unexplained)} equivalent, {len(unexplained)} survived"
    )
    for mutant in sorted(unexplained):
        print(f"{mutant.module.replace('.', '/')}.py:{mutant.line} in {mutant.function}")
        print(f"    was {mutant.original}\n    now {mutant.changed}")
    for place in wrong:
        print(f"not equivalent, as a test fails: {place}")
    return 1 if unexplained or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
