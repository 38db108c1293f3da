"""The tables of decisions and refusals are closed, and speak one language."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from asgi_cache.policy import decision as module
from asgi_cache.policy.decision import Action, Decision, Refusal

TOKEN = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")

DECISIONS = {
    Decision.FRESH: (Action.SERVE, b"hit"),
    Decision.STALE_WHILE_REVALIDATE: (Action.SERVE_AND_REVALIDATE, b"hit"),
    Decision.STALE_ON_ERROR: (Action.SERVE, b"fwd=stale"),
    Decision.STALE: (Action.VALIDATE, b"fwd=stale"),
    Decision.REQUEST: (Action.VALIDATE, b"fwd=request"),
    Decision.URI_MISS: (Action.FETCH, b"fwd=uri-miss"),
    Decision.VARY_MISS: (Action.FETCH, b"fwd=vary-miss"),
    Decision.ONLY_IF_CACHED: (Action.REFUSE, None),
    Decision.BYPASS: (Action.PASS, b"fwd=bypass"),
    Decision.METHOD: (Action.PASS, None),
    Decision.OFF: (Action.PASS, None),
}
NOTED = {
    *(Refusal.DENIED, Refusal.REDIRECT, Refusal.NO_STORE, Refusal.PRIVATE, Refusal.SET_COOKIE),
    *(Refusal.VARY_ANY, Refusal.VARY_CREDENTIALS),
}


def test_the_table_of_decisions() -> None:
    found = {decision: (decision.action, decision.cache_status) for decision in Decision}
    assert found == DECISIONS
    assert {decision.action for decision in Decision} == set(Action)


def test_what_is_noted_says_something_of_the_resource() -> None:
    # Decision 3: private, no-store, Set-Cookie, Vary, 401, 403 and 3xx only.
    assert {refusal for refusal in Refusal if refusal.noted} == NOTED


@pytest.mark.parametrize("table", [Decision, Refusal])
def test_labels(table: type[Decision] | type[Refusal]) -> None:
    labels = [member.label for member in table]
    assert len(set(labels)) == len(labels)
    for member in table:
        assert TOKEN.fullmatch(member.label)
        assert member.label == member.name.lower().replace("_", "-")


@pytest.mark.parametrize("table", [Decision, Refusal])
def test_a_member_knows_where_its_counter_stands(table: type[Decision] | type[Refusal]) -> None:
    assert [member.index for member in table] == list(range(len(table)))


@pytest.mark.parametrize("table", [Action, Decision, Refusal])
def test_members_are_told_apart_by_identity(
    table: type[Action] | type[Decision] | type[Refusal],
) -> None:
    assert len({*table}) == len(table)
    assert len(table.__members__) == len(table)


@pytest.mark.parametrize("table", ["Decision", "Refusal"])
def test_every_member_says_what_it_means(table: str) -> None:
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (body,) = (
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == table
    )
    undocumented = [
        node.targets[0].id
        for node, following in zip(body, [*body[1:], None], strict=True)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.isupper()
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]
    assert undocumented == []
