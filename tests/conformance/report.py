"""A run for people, line by line, and for programs, as JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .scoring import (
    KINDS,
    Cell,
    Outcome,
    RawResult,
    Results,
    Surprises,
    Test,
    outcomes_of,
    score_of,
)
from .suite import Suite

# More errors than this are one thing that went wrong, and would scroll away what came before.
MOST_ERRORS = 40


def list_lines(
    tests: Mapping[str, Test],
    results: Results,
    outcomes: Mapping[str, Outcome],
    reasons: Mapping[str, str],
) -> Iterator[str]:
    """The tests not passed, one by one."""
    for kind in KINDS:
        ids = [i for i, o in outcomes.items() if tests[i].kind == kind and not o.passed]
        if ids:
            yield f"{kind}, not passed:"
        for test_id in ids:
            yield f"  {test_id}: {outcomes[test_id].value}{_message(results.get(test_id))}"
            yield f"      {tests[test_id].name}"
            if test_id in reasons:
                yield f"      listed: {reasons[test_id]}"


def score_lines(tests: Mapping[str, Test], outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """What passed, by kind."""
    for kind, (passed, total) in score_of(tests, outcomes).items():
        yield f"  {kind:<9}{passed:>4} of {total:>3}"


def remarks(late: Sequence[str], wavering: Sequence[str]) -> Iterator[str]:
    """What the counts do not show."""
    if late:
        yield f"passed on the second try only: {', '.join(late)}"
    if wavering:
        yield f"not the same in every run: {', '.join(wavering)}"


def departures(
    list_name: str, tests: Mapping[str, Test], results: Results, surprises: Surprises
) -> Iterator[str]:
    """Where one run and its list part, one test to a line."""
    for test_id in surprises.unlisted:
        said = _message(results.get(test_id))
        yield f"{tests[test_id].kind} {test_id}: not passed, not in {list_name}{said}"
    for test_id in surprises.listed_but_passed:
        yield f"{tests[test_id].kind} {test_id}: passed, though in {list_name}"


def at_most(most: int, errors: Iterable[str]) -> list[str]:
    """The first of them, and how many there are beyond."""
    lines = list(errors)
    if len(lines) <= most:
        return lines
    return [*lines[:most], f"and {len(lines) - most} more like these"]


def print_errors(errors: Iterable[str]) -> None:
    """Each on a line of its own; to be called last."""
    for line in errors:
        print(f"error: {line}")


def as_json(
    suite: Suite,
    cell: Cell,
    tests: Mapping[str, Test],
    runs: Sequence[Results],
    results: Results,
    late: Sequence[str],
    wavering: Sequence[str],
) -> dict[str, Any]:
    """`raw` is the first run in the suite's own form, which its site can show."""
    outcomes = outcomes_of(tests, results)
    return {
        "suite": suite.label,
        "edition": suite.edition,
        "server": cell.server,
        "store": cell.store,
        "profile": cell.profile,
        "runs": len(runs),
        "score": {
            kind: {"passed": passed, "total": total}
            for kind, (passed, total) in score_of(tests, outcomes).items()
        },
        "passed_on_second_try": list(late),
        "wavering": list(wavering),
        "outcomes": {
            outcome.value: ids
            for outcome in Outcome
            if (ids := [test_id for test_id, found in outcomes.items() if found is outcome])
        },
        "messages": {
            test_id: result[1]
            for test_id, result in results.items()
            if test_id in outcomes and isinstance(result, list)
        },
        "raw": runs[0],
    }


def _message(result: RawResult | None) -> str:
    return f": {result[1]}" if isinstance(result, list) else ""
