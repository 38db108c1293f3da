"""The tool itself: it finds what is compared, and a mutant does what it says."""

from __future__ import annotations

import pytest

from tests.mutations.__main__ import every_mutant, explained
from tests.mutations.sites import mutants_of

SOURCE = """
LIMIT = 3

def within(a, b):
    return 0 <= a < b and not (b is None or a in (7,))

class Thing:
    @property
    def large(self):
        return any(n == LIMIT for n in self.numbers)
"""


def test_every_operator_is_turned_round() -> None:
    assert [(mutant.function, mutant.changed) for mutant in mutants_of("m", SOURCE)] == [
        ("within", "0 <= a < b or not (b is None or a in (7,))"),
        ("within", "0 < a < b"),
        ("within", "0 > a < b"),
        ("within", "0 <= a <= b"),
        ("within", "0 <= a >= b"),
        ("within", "b is None or a in (7,)"),
        ("within", "b is None and a in (7,)"),
        ("within", "b is not None"),
        ("within", "a not in (7,)"),
        ("Thing.large", "n != LIMIT"),
    ]


def test_a_mutant_is_the_function_with_that_one_change() -> None:
    namespace: dict[str, object] = {}
    exec(compile(SOURCE, "m", "exec"), namespace)
    within = namespace["within"]
    found = {}
    for mutant in mutants_of("m", SOURCE):
        if mutant.function == "within":
            within.__code__ = mutant.code  # type: ignore[attr-defined]
            found[mutant.changed] = (within(2, 2), within(1, 2), within(7, 9))  # type: ignore[operator]
    assert found["0 <= a <= b"] == (True, True, False)
    assert found["0 > a < b"] == (False, False, False)
    assert found["b is None or a in (7,)"] == (False, False, True)
    assert found["a not in (7,)"] == (False, False, True)


def test_equal_places_are_told_apart() -> None:
    source = "def f(a):\n    return a == 1 or a == 2 or a == 1\n"
    places = [mutant.place for mutant in mutants_of("m", source)]
    assert places[1:] == [
        "m.f: a == 1 -> a != 1",
        "m.f: a == 2 -> a != 2",
        "m.f (2): a == 1 -> a != 1",
    ]


def test_what_stands_outside_every_function_is_told() -> None:
    with pytest.raises(ValueError, match="outside every function: a == 1"):
        list(mutants_of("m", "B = a == 1\n"))


def test_the_whole_policy_has_mutants() -> None:
    mutants = every_mutant()
    assert len({mutant.place for mutant in mutants}) == len(mutants) > 300
    # An explanation is of a mutant that is there, and explains.
    reasons = explained()
    assert reasons.keys() <= {mutant.place for mutant in mutants}
    assert all(reasons.values())
