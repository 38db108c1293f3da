"""What a suite's raw results count for: the rules of its site, and the list of known non-passes.

Pure: no processes, no files. A raw result is `true`, or a pair of the error's name and message. The
rules are those by which the suite's site chooses a symbol, in its order: a test that did not run;
one that depends on something that did not pass (however its own result looks); one whose
preparation failed; then its own result, by kind.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

RawResult = bool | list[str]
Results = Mapping[str, RawResult]

KINDS = ("required", "optimal", "check")


class Outcome(enum.Enum):
    """What the site shows for a test; the value is how the report says it."""

    PASS = "pass"
    FAIL = "fail"
    OPTIONAL_FAIL = "optional fail"
    YES = "yes"
    NO = "no"
    UNTESTED = "untested"
    DEPENDENCY_FAIL = "dependency failed"
    SETUP_FAIL = "setup failed"
    HARNESS_FAIL = "harness failed"
    RETRY = "retried"

    @property
    def passed(self) -> bool:
        """Whether the test counts, and whether tests that depend on it can."""
        return self in (Outcome.PASS, Outcome.YES)


@dataclass(frozen=True)
class Test:
    """What the suite says of one test."""

    __test__ = False  # the name is the suite's; it is no class of tests

    id: str
    name: str
    suite: str = ""
    kind: str = "required"
    depends_on: tuple[str, ...] = ()
    browser_only: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """From the suite's own object, in which `kind` and more may be absent."""
        return cls(
            id=fields["id"],
            name=fields["name"],
            suite=fields["suite"],
            kind=fields.get("kind", "required"),
            depends_on=tuple(fields.get("depends_on", ())),
            browser_only=fields.get("browser_only", False),
        )


@dataclass(frozen=True)
class Cell:
    """What the suite is run against."""

    server: str
    store: str
    profile: str

    @property
    def slug(self) -> str:
        """For file names."""
        return f"{self.profile}-{self.server}-{self.store}"

    def __str__(self) -> str:
        return f"{self.server}, {self.store}, profile {self.profile}"


# Outcomes of a test's own result, by kind: passed, not passed.
BY_KIND = {
    "required": (Outcome.PASS, Outcome.FAIL),
    "optimal": (Outcome.PASS, Outcome.OPTIONAL_FAIL),
    "check": (Outcome.YES, Outcome.NO),
}


def outcome_of(test_id: str, tests: Mapping[str, Test], results: Results) -> Outcome:
    """The outcome of one test; KeyError for an id or a kind that the suite does not know."""
    test = tests[test_id]
    if test_id not in results:
        return Outcome.UNTESTED
    result = results[test_id]
    for dependency in test.depends_on:
        if not outcome_of(dependency, tests, results).passed:
            return Outcome.DEPENDENCY_FAIL
    if isinstance(result, list) and result[0] == "Setup":
        return Outcome.RETRY if result[1] == "retry" else Outcome.SETUP_FAIL
    if result is False or (isinstance(result, list) and result[0] == "AbortError"):
        return Outcome.HARNESS_FAIL
    passed, not_passed = BY_KIND[test.kind]
    return passed if result is True else not_passed


def outcomes_of(tests: Mapping[str, Test], results: Results) -> dict[str, Outcome]:
    """The outcome of every test that a cache which is not a browser is given."""
    return {
        test.id: outcome_of(test.id, tests, results)
        for test in tests.values()
        if not test.browser_only
    }


def score_of(tests: Mapping[str, Test], outcomes: Mapping[str, Outcome]) -> dict[str, list[int]]:
    """Passed and total, by kind."""
    score = {kind: [0, 0] for kind in KINDS}
    for test_id, outcome in outcomes.items():
        count = score[tests[test_id].kind]
        count[0] += outcome.passed
        count[1] += 1
    return score


def with_second_try(first: Results, again: Results) -> tuple[dict[str, RawResult], list[str]]:
    """The better result of each test, and the tests that passed on the second try only."""
    late = [test_id for test_id in again if again[test_id] is True and first[test_id] is not True]
    return {**first, **dict.fromkeys(late, True)}, late


def majority(runs: Sequence[Results]) -> tuple[dict[str, RawResult], list[str]]:
    """What counts of several runs, and the tests that passed in some of them only.

    A test passes that passed in more than half of the runs; else its first other result stands.
    """
    results: dict[str, RawResult] = {}
    wavering: list[str] = []
    for test_id in dict.fromkeys(test_id for run in runs for test_id in run):
        others = [run[test_id] for run in runs if test_id in run and run[test_id] is not True]
        passes = sum(run.get(test_id) is True for run in runs)
        if passes * 2 > len(runs):
            results[test_id] = True
        elif others:
            results[test_id] = others[0]
        if 0 < passes < len(runs):
            wavering.append(test_id)
    return results, wavering


class WrongListError(ValueError):
    """The list of known non-passes contradicts the suite, or gives no reason."""


def reasons_in(document: Mapping[str, Any], tests: Mapping[str, Test]) -> dict[str, str]:
    """The reason for each known non-pass; `document` has a table per kind, of id = reason."""
    reasons: dict[str, str] = {}
    for kind, table in document.items():
        if kind not in KINDS:
            raise WrongListError(f"[{kind}]: no such kind; there are {', '.join(KINDS)}")
        for test_id, reason in table.items():
            test = tests.get(test_id)
            if test is None or test.browser_only:
                raise WrongListError(f"{test_id}: the suite has no such test")
            if test.kind != kind:
                raise WrongListError(f"{test_id}: stands under [{kind}], is {test.kind}")
            if not isinstance(reason, str) or not reason.strip():
                raise WrongListError(f"{test_id}: no reason is given")
            reasons[test_id] = reason
    return reasons


@dataclass(frozen=True)
class Surprises:
    """Where outcomes and the list of known non-passes part, in the suite's order."""

    unlisted: list[str]
    listed_but_passed: list[str]

    @classmethod
    def between(cls, outcomes: Mapping[str, Outcome], reasons: Iterable[str]) -> Self:
        """Compare; `reasons` are the ids on the list."""
        listed = set(reasons)
        return cls(
            unlisted=[
                test_id
                for test_id, outcome in outcomes.items()
                if not outcome.passed and test_id not in listed
            ],
            listed_but_passed=[
                test_id
                for test_id, outcome in outcomes.items()
                if outcome.passed and test_id in listed
            ],
        )

    def __bool__(self) -> bool:
        return bool(self.unlisted or self.listed_but_passed)
