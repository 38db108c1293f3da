"""The checker itself, for some seconds: real processes, a real Redis, faults on (case C18).

``python -m tests.security.checker`` makes the long run. ``CHECKER_RESPONSES`` and ``CHECKER_SEED``
make this one longer, or once more.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.security.checker.__main__ import main, told
from tests.security.checker.board import Board
from tests.security.checker.faults import KINDS
from tests.security.checker.pages import all_calls
from tests.security.checker.running import Plan, crowds, run

if TYPE_CHECKING:
    from pathlib import Path

RESPONSES = int(os.environ.get("CHECKER_RESPONSES", "8000"))
SEED = int(os.environ.get("CHECKER_SEED", "20"))


@pytest.mark.flaky(reruns=1)  # what is late may be the machine, once
def test_c18_random_histories_over_processes_with_faults() -> None:
    """Every answer: its own key's inputs, whole, its own user's, in time, and not purged."""
    outcome = run(Plan(responses=RESPONSES, seed=SEED))
    print(f"\n{told(outcome)}")
    assert outcome.passed, told(outcome)
    figures = outcome.figures
    assert figures["checked"] >= RESPONSES
    assert figures["counts"]["another worker's"] > 0.1 * RESPONSES
    assert figures["counts"]["under a fault"] > 0.05 * RESPONSES
    assert len(figures["faults_injected"]) > len(KINDS) / 3
    assert figures["app_calls_others_may_wait_for"] > 0.05 * RESPONSES
    assert min(figures["app_calls_at_once_for_a_key"].values()) >= 1


def test_c18_too_many_calls_at_once_for_a_key_are_a_problem() -> None:
    """But not where the app's failures have released those who waited."""
    assert crowds(2, {"ruled": 3, "onerror": 9}) == []
    assert crowds(2, {"ruled": 4}) == ["4 calls of the app at once for one key of 'ruled'"]


def test_the_command_writes_its_figures(tmp_path: Path) -> None:
    out = tmp_path / "checker.json"
    arguments = ["--responses", "2000", "--workers", "2", "--faults", "off", "--out", str(out)]
    status = main(arguments)
    written = json.loads(out.read_text())
    assert status == 0, written
    assert written["checked"] >= 2000
    assert written["wrong"] == 0
    assert written["faults_injected"] == {}


def test_each_process_writes_its_own_row_of_the_board(tmp_path: Path) -> None:
    board = Board.make(tmp_path / "board", 2)
    other = Board(tmp_path / "board", 2)
    scope = ("first", "all")
    board.note(0, "purged", [scope], 5)
    other.note(1, "purged", [scope], 9)
    board.note(0, "purged", [scope], 3)
    assert board.latest("purged", [scope]) == other.latest("purged", [scope]) == 9
    assert board.latest("softened", [scope]) == 0
    # A worker has to know at once what it did itself, and all once the leases have ended.
    assert (board.latest_for(0, "purged", [scope]), board.latest_for(1, "purged", [scope])) == (
        5,
        9,
    )
    other.note(1, "known purged", [scope], 9)
    assert board.latest_for(0, "purged", [scope]) == 9
    board.count(0, "judged")
    other.count(1, "judged", 2)
    assert (board.total("judged"), other.count_of(1, "judged")) == (3, 2)
    key = next(all_calls())
    assert [board.call(0, key, 1), other.call(1, key, 1), other.call(1, key, -1)] == [1, 2, 1]
    assert board.call(0, ("first", "nothing that is waited for"), 1) == 0
    assert board.latest("changed", [scope]) == 0
    board.stop()
    assert other.stopped
    board.close()
    other.close()
