"""The list of wrong versions is of this source: each change applies, and each test exists."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.mutations.wrong.entry import NAMED, Change, Wrong, one
from tests.mutations.wrong.listed import WRONG
from tests.mutations.wrong.running import (
    ROOT,
    first_failure,
    forget_compiled,
    judge,
    out_of_date,
    path_of,
    put_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_each_change_applies_to_the_present_source(wrong: Wrong) -> None:
    assert out_of_date(wrong) == []


def test_each_has_a_name_of_its_own() -> None:
    names = [wrong.name for wrong in WRONG]
    assert len(set(names)) == len(names)


def test_every_version_seen_in_the_field_is_there() -> None:
    assert {wrong.named for wrong in WRONG} - {""} == set(NAMED)


def functions_of(nodes: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """The tests of a module, and those of its classes."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from functions_of(node.body, f"{node.name}::")


@cache
def functions_in(path: Path) -> frozenset[str]:
    return frozenset(functions_of(ast.parse(path.read_text(encoding="utf-8")).body))


def test_every_test_that_is_named_exists() -> None:
    for wrong in WRONG:
        assert wrong.tests, wrong.name
        for test in wrong.tests:
            name, _, function = test.partition("::")
            path = ROOT / "tests" / name
            assert path.is_file(), test
            assert not function or function.partition("[")[0] in functions_in(path), test


# ------------------------------------------------------------------ the tool itself


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout of one module and its test."""
    for name, text in (
        ("asgi_cache/__init__.py", ""),
        ("asgi_cache/sums.py", "def total(a, b):\n    return a + b\n"),
        (
            "tests/test_sums.py",
            "from asgi_cache.sums import total\n\n"
            "def test_sum():\n    assert total(2, 3) == 5\n\n"
            "def test_zero():\n    assert total(0, 0) == 0\n",
        ),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_what_does_not_apply_is_told(root: Path) -> None:
    assert out_of_date(one("n", "", "sums.py", "a + b", "a - b"), root) == []
    (gone,) = out_of_date(one("n", "", "none.py", "a", "b"), root)
    assert gone == "none.py is not there"
    (absent,) = out_of_date(one("n", "", "sums.py", "a * b", "a - b"), root)
    assert absent == "sums.py has 0 times: a * b"
    (twice,) = out_of_date(one("n", "", "sums.py", "a", "b"), root)
    assert "times: a" in twice
    (no_python,) = out_of_date(one("n", "", "sums.py", "a + b", "a +"), root)
    assert no_python.startswith("is no Python")


def test_a_change_is_taken_out_again(root: Path) -> None:
    changes = (Change("sums.py", "a + b", "a - b"), Change("sums.py", "total", "sum_of"))
    path = path_of(changes[0], root)
    original = path.read_text(encoding="utf-8")
    with put_in(Wrong("n", "", changes, ()), root):
        assert path.read_text(encoding="utf-8") == "def sum_of(a, b):\n    return a - b\n"
    assert path.read_text(encoding="utf-8") == original


@pytest.mark.parametrize(
    ("new", "test", "caught", "said"),
    [
        ("a - b", "test_sum", True, "test_sums.py::test_sum - assert -1 == 5"),
        ("a - b", "test_zero", False, "survived"),
        ("a + c", "test_sum", False, "no program: NameError: name 'c' is not defined"),
        ("a - b", "test_none", False, "pytest ended with 4"),
    ],
)
def test_only_a_test_that_fails_catches(
    root: Path, new: str, test: str, caught: bool, said: str
) -> None:
    verdict = judge(one("n", "", "sums.py", "a + b", new, f"test_sums.py::{test}"), root)
    assert verdict.caught == caught
    assert verdict.said.startswith(said)


def test_a_stale_compiled_module_is_forgotten(tmp_path: Path) -> None:
    compiled = tmp_path / "__pycache__" / "sums.cpython-311.pyc"
    other = tmp_path / "__pycache__" / "sums_of.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.touch()
    other.touch()
    forget_compiled(tmp_path / "sums.py")
    assert not compiled.exists()
    assert other.exists()


def test_the_line_that_says_why() -> None:
    said = "..F\nFAILED tests/test_sums.py::test_sum - assert 1 == 5\n1 failed\n"
    assert first_failure(said) == "test_sums.py::test_sum - assert 1 == 5"
