"""The rules of the suite's site, and the comparison with the list of known non-passes."""

from pathlib import Path
from typing import Any

import pytest

from .report import as_json, at_most, list_lines, remarks, score_lines
from .run import verdict
from .scoring import (
    Cell,
    Outcome,
    RawResult,
    Surprises,
    Test,
    WrongListError,
    majority,
    outcome_of,
    outcomes_of,
    reasons_in,
    score_of,
    with_second_try,
)
from .suite import Suite

LIST = Path("lists/not_passed.toml")
ASSERTION: list[str] = ["Assertion", "Response 2 does not come from cache"]
SETUP: list[str] = ["Setup", "Response 1 status is 500, not 200"]
RETRIED: RawResult = ["Setup", "retry"]
TIMED_OUT: RawResult = ["AbortError", "This operation was aborted"]
FETCH: RawResult = ["FetchError", "socket hang up"]


def suite_of(*tests: Test) -> dict[str, Test]:
    return {test.id: test for test in tests}


@pytest.mark.parametrize(
    ("kind", "result", "expected"),
    [
        ("required", True, Outcome.PASS),
        ("required", ASSERTION, Outcome.FAIL),
        ("required", FETCH, Outcome.FAIL),
        ("required", SETUP, Outcome.SETUP_FAIL),
        ("required", RETRIED, Outcome.RETRY),
        ("required", False, Outcome.HARNESS_FAIL),
        ("required", TIMED_OUT, Outcome.HARNESS_FAIL),
        ("optimal", TIMED_OUT, Outcome.HARNESS_FAIL),
        ("required", None, Outcome.UNTESTED),
        ("optimal", True, Outcome.PASS),
        ("optimal", ASSERTION, Outcome.OPTIONAL_FAIL),
        ("optimal", FETCH, Outcome.OPTIONAL_FAIL),
        ("optimal", SETUP, Outcome.SETUP_FAIL),
        ("check", True, Outcome.YES),
        ("check", ASSERTION, Outcome.NO),
        ("check", FETCH, Outcome.NO),
        ("check", RETRIED, Outcome.RETRY),
        ("check", False, Outcome.HARNESS_FAIL),
    ],
)
def test_own_result(kind: str, result: RawResult | None, expected: Outcome) -> None:
    results = {} if result is None else {"t": result}
    assert outcome_of("t", suite_of(Test("t", "T", kind=kind)), results) is expected


@pytest.mark.parametrize(
    ("kind", "dependency", "result", "expected"),
    [
        ("required", True, True, Outcome.PASS),
        ("optimal", True, True, Outcome.PASS),
        ("check", True, True, Outcome.PASS),
        ("required", True, ASSERTION, Outcome.FAIL),
        ("required", ASSERTION, True, Outcome.DEPENDENCY_FAIL),
        ("optimal", ASSERTION, True, Outcome.DEPENDENCY_FAIL),
        ("check", ASSERTION, True, Outcome.DEPENDENCY_FAIL),
        ("required", SETUP, True, Outcome.DEPENDENCY_FAIL),
        ("required", None, True, Outcome.DEPENDENCY_FAIL),
        # What it depends on is looked at before its own failure, but after "it did not run".
        ("required", ASSERTION, SETUP, Outcome.DEPENDENCY_FAIL),
        ("required", ASSERTION, None, Outcome.UNTESTED),
    ],
)
def test_result_with_a_dependency(
    kind: str, dependency: RawResult | None, result: RawResult | None, expected: Outcome
) -> None:
    tests = suite_of(Test("d", "D", kind=kind), Test("t", "T", depends_on=("d",)))
    results = {i: r for i, r in {"d": dependency, "t": result}.items() if r is not None}
    assert outcome_of("t", tests, results) is expected


def test_dependencies_reach_through() -> None:
    tests = suite_of(
        Test("a", "A"), Test("b", "B", depends_on=("a",)), Test("c", "C", depends_on=("b",))
    )
    results: dict[str, RawResult] = {"a": ASSERTION, "b": True, "c": True}
    assert outcome_of("c", tests, results) is Outcome.DEPENDENCY_FAIL


def test_every_dependency_counts() -> None:
    tests = suite_of(Test("a", "A"), Test("b", "B"), Test("c", "C", depends_on=("a", "b")))
    results: dict[str, RawResult] = {"a": True, "b": ASSERTION, "c": True}
    assert outcome_of("c", tests, results) is Outcome.DEPENDENCY_FAIL


def test_an_unknown_dependency_is_an_error() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        outcome_of("t", suite_of(Test("t", "T", depends_on=("nowhere",))), {"t": True})


def test_score_leaves_out_what_only_browsers_are_given() -> None:
    tests = suite_of(
        Test("r1", "R1"),
        Test("r2", "R2"),
        Test("o", "O", kind="optimal"),
        Test("c", "C", kind="check"),
        Test("b", "B", browser_only=True),
    )
    results: dict[str, RawResult] = {"r1": True, "r2": ASSERTION, "o": ASSERTION, "c": True}
    outcomes = outcomes_of(tests, results)
    assert score_of(tests, outcomes) == {"required": [1, 2], "optimal": [0, 1], "check": [1, 1]}


def test_reading_a_test_fills_in_what_the_suite_leaves_out() -> None:
    assert Test.read({"id": "t", "name": "T", "suite": "s"}) == Test("t", "T", suite="s")
    full = {"id": "t", "name": "T", "suite": "s", "kind": "check", "depends_on": ["d"]}
    assert Test.read({**full, "browser_only": True}) == Test("t", "T", "s", "check", ("d",), True)


def test_second_try_never_hides_the_first() -> None:
    first: dict[str, RawResult] = {"a": True, "b": ASSERTION, "c": ASSERTION}
    again: dict[str, RawResult] = {"b": True, "c": FETCH}
    assert with_second_try(first, again) == ({"a": True, "b": True, "c": ASSERTION}, ["b"])
    assert first["b"] is ASSERTION


LISTED = suite_of(Test("r", "R"), Test("c", "C", kind="check"), Test("b", "B", browser_only=True))


def test_reasons() -> None:
    document = {"required": {"r": "It cannot."}, "optimal": {}, "check": {"c": "It does not."}}
    assert reasons_in(document, LISTED) == {"r": "It cannot.", "c": "It does not."}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"needed": {}}, "no such kind"),
        ({"required": {"x": "It cannot."}}, "x: the suite has no such test"),
        ({"required": {"b": "It cannot."}}, "b: the suite has no such test"),
        ({"required": {"c": "It cannot."}}, r"c: stands under \[required\], is check"),
        ({"required": {"r": " "}}, "r: no reason"),
        ({"required": {"r": True}}, "r: no reason"),
    ],
)
def test_wrong_lists(document: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongListError, match=message):
        reasons_in(document, LISTED)


SURPRISING = suite_of(
    Test("pass", "P"),
    Test("fail", "F"),
    Test("known", "K"),
    Test("cured", "C", kind="optimal"),
    Test("held-up", "H", kind="check", depends_on=("fail",)),
)
RESULTS: dict[str, RawResult] = {
    "pass": True,
    "fail": ASSERTION,
    "known": SETUP,
    "cured": True,
    "held-up": True,
}


def test_surprises(capsys: pytest.CaptureFixture[str]) -> None:
    surprises = Surprises.between(outcomes_of(SURPRISING, RESULTS), ["known", "cured"])
    assert surprises == Surprises(["fail", "held-up"], ["cured"])
    assert verdict(LIST, SURPRISING, RESULTS, surprises) == 1
    assert capsys.readouterr().out.splitlines() == [
        "error: required fail: not passed, not in not_passed.toml: "
        "Response 2 does not come from cache",
        "error: check held-up: not passed, not in not_passed.toml",
        "error: optimal cured: passed, though in not_passed.toml",
    ]


@pytest.mark.parametrize(
    ("surprises", "expected"),
    [(Surprises([], []), 0), (Surprises(["fail"], []), 1), (Surprises([], ["cured"]), 1)],
)
def test_verdict(surprises: Surprises, expected: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(LIST, SURPRISING, RESULTS, surprises) == expected
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("error: ") if expected else last == "as not_passed.toml says"


def test_a_flood_of_errors_is_cut() -> None:
    assert at_most(2, ["a", "b"]) == ["a", "b"]
    assert at_most(2, ["a", "b", "c", "d"]) == ["a", "b", "and 2 more like these"]


def test_the_list_names_every_non_pass() -> None:
    outcomes = outcomes_of(SURPRISING, RESULTS)
    assert list(list_lines(SURPRISING, RESULTS, outcomes, {"known": "It cannot."})) == [
        "required, not passed:",
        "  fail: fail: Response 2 does not come from cache",
        "      F",
        "  known: setup failed: Response 1 status is 500, not 200",
        "      K",
        "      listed: It cannot.",
        "check, not passed:",
        "  held-up: dependency failed",
        "      H",
    ]


def test_counts_and_remarks() -> None:
    assert list(score_lines(SURPRISING, outcomes_of(SURPRISING, RESULTS))) == [
        "  required    1 of   3",
        "  optimal     1 of   1",
        "  check       0 of   1",
    ]
    assert list(remarks([], [])) == []
    assert list(remarks(["a", "b"], ["c"])) == [
        "passed on the second try only: a, b",
        "not the same in every run: c",
    ]


def test_json_keeps_the_first_run() -> None:
    first = {**RESULTS, "pass": ASSERTION}
    suite = Suite("npm", "suite 1.0", Path("suite"), ".", "node")
    cell = Cell("uvicorn-h11", "memory", "default")
    document = as_json(suite, cell, SURPRISING, [first], RESULTS, ["pass"], [])
    assert document["raw"] == first
    assert document["passed_on_second_try"] == ["pass"]
    assert (document["suite"], document["edition"]) == ("suite 1.0", "npm")
    assert (document["server"], document["store"]) == ("uvicorn-h11", "memory")
    assert (document["profile"], document["runs"]) == ("default", 1)
    assert document["score"]["required"] == {"passed": 1, "total": 3}
    assert document["outcomes"] == {
        "pass": ["pass", "cured"],
        "fail": ["fail"],
        "dependency failed": ["held-up"],
        "setup failed": ["known"],
    }
    assert document["messages"] == {"fail": ASSERTION[1], "known": SETUP[1]}


@pytest.mark.parametrize(
    ("runs", "expected", "wavering"),
    [
        ([True], True, False),
        ([ASSERTION], ASSERTION, False),
        ([True, True, ASSERTION], True, True),
        ([True, FETCH, ASSERTION], FETCH, True),
        ([True, ASSERTION], ASSERTION, True),
        ([ASSERTION, FETCH], ASSERTION, False),
        ([None, True, True], True, True),
        ([None, None, True], None, True),
        ([None, ASSERTION], ASSERTION, False),
    ],
)
def test_majority(runs: list[RawResult | None], expected: RawResult | None, wavering: bool) -> None:
    given: list[dict[str, RawResult]] = [{} if run is None else {"t": run} for run in runs]
    results, unsteady = majority(given)
    assert results == ({} if expected is None else {"t": expected})
    assert unsteady == (["t"] if wavering else [])
