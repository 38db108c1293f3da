"""The command that shows the promised figures: what it judges, keeps and prints."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.figures import __main__ as command
from tests.figures import running
from tests.figures.rows import ROWS, Figure, Form, Row
from tests.figures.telling import FILE, tell, told

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
FIGURES = [Figure("asked", join=sum), Figure("wrong", 0, sum), Figure("ms", 10)]
TELLING = "from tests.figures.telling import tell; tell('x', {part!r}, **{figures!r})"


def form(*commands: Sequence[str], at_least: dict[str, float] | None = None) -> Form:
    return Form("0 wrong in 10", commands, 1, {"SOMETHING": "1"}, at_least or {"asked": 10})


def telling(part: str, **figures: float) -> tuple[str, str]:
    """A command that tells *figures*."""
    return ("-c", TELLING.format(part=part, figures=figures))


def row(*commands: Sequence[str], quick: Sequence[Sequence[str]] = ()) -> Row:
    promise = "{wrong:.0f} in {asked:,.0f}, {ms:.1f} ms"
    return Row("x", "an example", promise, FIGURES, form(*quick), form(*commands))


def test_of_what_is_told_again_the_last_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures"
    monkeypatch.setenv(FILE, str(file))
    tell("x", "a", wrong=3)
    tell("x", "a", wrong=0)
    tell("x", "b", wrong=1, ms=2.5)
    tell("y", wrong=9)
    assert told(file, "x") == [{"wrong": 0}, {"wrong": 1, "ms": 2.5}]
    assert told(file, "z") == told(tmp_path / "none", "x") == []
    assert capsys.readouterr().out.splitlines()[2:] == ["x: b: wrong 1, ms 2.5", "y: wrong 9"]


def test_parts_are_added_or_the_worst_counts() -> None:
    parts = [{"asked": 4.0, "wrong": 1.0, "ms": 3.0}, {"asked": 6.0, "wrong": 0.0, "ms": 7.0}]
    assert running.joined(FIGURES, parts) == {"asked": 10, "wrong": 1, "ms": 7}


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({"asked": 10, "wrong": 0, "ms": 10}, []),
        ({"asked": 9, "wrong": 0, "ms": 1}, ["asked is 9, promised at least 10"]),
        ({"asked": 10, "wrong": 1, "ms": 1}, ["wrong is 1, promised at most 0"]),
        ({"asked": 10, "wrong": 0, "ms": 10.5}, ["ms is 10.5, promised at most 10"]),
        ({"asked": 10, "wrong": 0}, ["ms was not told"]),
    ],
)
def test_what_is_not_as_promised_is_said(found: dict[str, float], wrong: list[str]) -> None:
    assert running.broken(FIGURES, {"asked": 10}, found) == wrong


def test_the_command_keeps_each_result_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [telling("a", asked=4, wrong=0, ms=1.0), telling("b", asked=6, wrong=0, ms=2.0)]
    bad = [*good, telling("c", wrong=1)]
    other = replace(row(), name="y")
    monkeypatch.setattr(command, "ROWS", [row(*bad, quick=good), other])
    out = tmp_path / "figures.json"
    assert command.main(["--quick", "--only", "x", "--out", str(out)]) == 0
    never = {"promise": "0 wrong in 10"}
    assert "reached: 0 in 10, 2.0 ms" in capsys.readouterr().out
    rows = json.loads(out.read_text())["rows"]
    assert rows["x"]["long"] == never
    assert rows["y"] == {"what": "an example", "quick": never, "long": never}
    assert command.main(["--long", "--only", "x", "--out", str(out)]) == 1
    assert "NOT REACHED: 1 in 10, 2.0 ms\n    wrong is 1" in capsys.readouterr().out
    written: dict[str, Any] = json.loads(out.read_text())["rows"]["x"]
    assert written["what"] == "an example"
    assert [written[name]["reached"] for name in ("quick", "long")] == [True, False]
    assert written["quick"]["figures"] == {"asked": 10, "wrong": 0, "ms": 2}
    assert written["quick"]["command"].startswith("SOMETHING=1 python -c ")


def test_a_command_that_fails_keeps_no_promise(capsys: pytest.CaptureFixture[str]) -> None:
    one = row(telling("a", asked=10, wrong=0, ms=1), ("-c", "print('why'); raise SystemExit(3)"))
    result = running.run(one, one.long)
    assert not result["reached"]
    assert result["missed"][0].startswith("exit 3: python -c")
    assert "why" in capsys.readouterr().err


def test_every_row_names_what_there_is() -> None:
    """Files, tests, and figures that some line of them tells."""
    assert len({one.name for one in ROWS}) == len(ROWS)
    for one in ROWS:
        assert one.told.format(**{figure.name: 0.0 for figure in one.figures})
        for way in (one.quick, one.long):
            assert set(way.at_least) <= {figure.name for figure in one.figures}
            for words in way.commands:
                for test in [word for word in words if "::" in word]:
                    file, _, name = test.partition("::")
                    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), test


def test_the_list_says_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list", "--only", "wrong bytes"]) == 0
    quick, long = capsys.readouterr().out.splitlines()
    assert quick.endswith("python -m tests.security.checker --responses 100000")
    assert long.startswith("wrong bytes (long, ")
    assert sys.executable not in long
