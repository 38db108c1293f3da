"""Medians, ratios, rows, JSON and charts of made-up measurements."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import techniques, throughput
from benchmarks.charts import techniques_chart, throughput_chart
from benchmarks.load import Sample
from benchmarks.report import Spread, arguments, describe, in_words, ratios, write

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG"


def about() -> dict[str, Any]:
    options = arguments("throughput", "", []).parse_args(["--quick"])
    return describe(options, "wrk", 3, 1)


def measured(per_second: float, app_calls: int) -> throughput.Measured:
    return throughput.Measured(Sample(1000, per_second, 1.0, 2.0, 0), app_calls, 2 * app_calls)


def variants(*times: float) -> dict[str, list[throughput.Measured]]:
    memory, redis = times
    return {
        "uncached": [measured(rate, 1000) for rate in (90, 100, 110)],
        "memory": [measured(rate * memory, 0) for rate in (90, 100, 110)],
        "redis": [measured(rate * redis, 250) for rate in (90, 100, 110)],
    }


def test_spread() -> None:
    spread = Spread.of([3.0, 1.0, 2.0, 10.0])
    assert spread == Spread(2.5, 1.0, 10.0)
    assert f"{spread:.1f}" == "2.5 (1.0-10.0)"


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([20, 10], [2, 5]) == Spread(6, 2, 10)


def test_rows_and_figures() -> None:
    made = throughput.summarize(
        {"primary key": variants(12, 4), "search": variants(100, 50), "static page": variants(2, 1)}
    )
    row = made["rows"][0]
    assert row["memory"]["times"] == pytest.approx({"median": 12, "least": 12, "greatest": 12})
    assert row["memory"]["hit_ratio"]["median"] == 1
    assert row["redis"]["hit_ratio"]["median"] == 0.75
    assert row["uncached"]["per_second"] == {"median": 100, "least": 90, "greatest": 110}
    assert (row["redis"]["app_calls"], row["redis"]["statements"]) == (750, 1500)
    figures = made["figures"]["memory"]
    assert figures["median_over_database_endpoints"] == pytest.approx(56)
    assert figures["read_by_primary_key"] == pytest.approx(12)


def test_throughput_is_shown_written_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = throughput.summarize({"primary key": variants(12, 4), "mixed": variants(2, 1)})
    content = {**about(), **rows}
    throughput.show(content)
    assert "a read by primary key 12.0 (goal 12)" in capsys.readouterr().out
    path = write(tmp_path / "new", "throughput", content)
    assert json.loads(path.read_text())["machine"]["cores"] >= 1
    assert throughput_chart(tmp_path, content, in_words(content)).read_bytes()[:4] == PNG


def test_techniques_are_shown_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def side(rate: float) -> list[techniques.Measured]:
        return [techniques.Measured(Sample(100, rate, 1.0, 2.0, 0), 100, 200, 3.0)]

    rows = techniques.summarize({"eager loading": {"without": side(10), "with": side(25)}})
    assert rows[0]["times"]["median"] == 2.5
    assert rows[0]["with"]["statements_per_app_call"] == 2
    content = {**about(), "rows": rows}
    techniques.show(content)
    assert "2.50 (2.50-2.50)" in capsys.readouterr().out
    assert techniques_chart(tmp_path, content, in_words(content)).read_bytes()[:4] == PNG


def test_the_conditions_in_words() -> None:
    words = in_words(about())
    assert "SQLite" in words
    assert "load by wrk (32 connections)" in words
    assert "3 rounds of 1 s" in words


@pytest.mark.parametrize("arguments_", [["--rounds", "0"], ["--seconds", "x"], ["--only", "y"]])
def test_wrong_arguments_are_refused(arguments_: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments("throughput", "", ["search"]).parse_args(arguments_)
