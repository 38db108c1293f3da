"""A run for people, line by line, and for programs, as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .scoring import KINDS, Outcome, RawResult, Results, Test, score_of
from .suite import PACKAGE, VERSION


def lines_of(
    tests: Mapping[str, Test],
    results: Results,
    outcomes: Mapping[str, Outcome],
    reasons: Mapping[str, str],
    late: Sequence[str],
) -> Iterator[str]:
    """The tests not passed, those in `late` that passed on the second try only, and the score."""
    for kind in KINDS:
        ids = [i for i, o in outcomes.items() if tests[i].kind == kind and not o.passed]
        if ids:
            yield ""
            yield f"{kind}, not passed:"
        for test_id in ids:
            yield f"  {test_id}: {outcomes[test_id].value}{_message(results.get(test_id))}"
            yield f"      {tests[test_id].name}"
            if test_id in reasons:
                yield f"      listed: {reasons[test_id]}"
    if late:
        yield ""
        yield "passed on the second try only:"
        yield from (f"  {test_id}" for test_id in late)
    yield ""
    yield f"{PACKAGE} {VERSION}"
    for kind, (passed, total) in score_of(tests, outcomes).items():
        yield f"  {kind:<9}{passed:>4} of {total:>3}"


def as_json(
    run: Mapping[str, str],
    tests: Mapping[str, Test],
    first: Results,
    results: Results,
    outcomes: Mapping[str, Outcome],
    late: Sequence[str],
) -> dict[str, Any]:
    """`raw` is the first try in the suite's own form, which its site can show."""
    return {
        "suite": f"{PACKAGE} {VERSION}",
        **run,
        "score": {
            kind: {"passed": passed, "total": total}
            for kind, (passed, total) in score_of(tests, outcomes).items()
        },
        "passed_on_second_try": list(late),
        "tests": {
            test_id: {
                "kind": tests[test_id].kind,
                "outcome": outcome.value,
                "message": _message(results.get(test_id)).removeprefix(": ") or None,
            }
            for test_id, outcome in outcomes.items()
        },
        "raw": first,
    }


def _message(result: RawResult | None) -> str:
    return f": {result[1]}" if isinstance(result, list) else ""
