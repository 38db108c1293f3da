"""The table of RFC 9111's sentences: each is held by tests that exist, or says why it is not ours.

``sentences.toml`` is for reading beside the RFC; what is checked here is that it stays true.
"""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SENTENCES: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("sentences.toml").read_text(encoding="utf-8")
)["sentence"]

SECTIONS = [
    *("1.2.2", "3", "3.1", "3.2", "3.3", "3.4", "3.5"),
    *("4", "4.1", "4.2", "4.2.1", "4.2.2", "4.2.3", "4.2.4"),
    *("4.3.1", "4.3.2", "4.3.3", "4.3.4", "4.3.5", "4.4"),
    *("5.1", "5.2", *(f"5.2.1.{n}" for n in range(1, 8))),
    *("5.2.2", *(f"5.2.2.{n}" for n in range(1, 11))),
    *("5.2.3", "5.3", "5.4", "5.5", "6", "7", "7.1", "7.2", "7.3"),
]
LEVELS = {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "defines", "advice"}


@cache
def defined_in(path: str) -> frozenset[str]:
    """The tests that a file defines at its top level."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    )


def test_every_section_is_there_in_its_order() -> None:
    assert list(dict.fromkeys(sentence["section"] for sentence in SENTENCES)) == SECTIONS


@pytest.mark.parametrize(
    "sentence", SENTENCES, ids=lambda each: f"{each['section']} {each['says']}"
)
def test_every_sentence_is_held_or_is_not_ours(sentence: dict[str, Any]) -> None:
    assert {"section", "level", "says"} <= sentence.keys()
    assert sentence.keys() <= {"section", "level", "says", "held_by", "not_ours", "deviates"}
    assert sentence["level"] in LEVELS
    assert ("held_by" in sentence) is not ("not_ours" in sentence)
    assert sentence.get("not_ours", "why")
    assert sentence.get("deviates", "how")
    tests = sentence.get("held_by", ["none"])
    assert tests
    assert len(set(tests)) == len(tests)


@pytest.mark.parametrize(
    "test", sorted({test for sentence in SENTENCES for test in sentence.get("held_by", ())})
)
def test_every_test_that_is_named_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert (ROOT / path).is_file()
    assert name in defined_in(path)


def test_no_sentence_is_there_twice() -> None:
    said = [(sentence["section"], sentence["says"]) for sentence in SENTENCES]
    assert len(set(said)) == len(said)
