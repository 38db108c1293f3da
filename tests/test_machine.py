"""A stopwatch that stands still must not stand still for ever, or nothing is judged by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machine import Stopwatch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Clock

STAT = (
    "cpu  9 9 9 9 9 9 9 {0} 0 0\ncpu0 1 1 1 1 1 1 1 {1} 0 0\ncpu1 1 1 1 1 1 1 1 {2} 0 0\nctxt 1\n"
)


@pytest.mark.parametrize(
    ("ticks", "counted"), [((0, 0), 2.0), ((50, 20), 1.5), ((140, 140), 0.6), ((300, 0), 0.0)]
)
def test_what_the_core_that_lost_most_has_lost_is_not_counted(
    ticks: tuple[int, int],
    counted: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr("tests.machine._STAT", stat)
    monkeypatch.setattr("tests.machine.os.sysconf", lambda _: 100)
    monkeypatch.setattr("tests.machine.time.monotonic", clock)
    stat.write_text(STAT.format(1200, 700, 500))
    watch = Stopwatch()
    clock.advance(2.0)
    stat.write_text(STAT.format(1200 + sum(ticks), 700 + ticks[0], 500 + ticks[1]))
    assert watch.seconds == pytest.approx(counted)


def test_where_nobody_counts_it_is_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr("tests.machine._STAT", tmp_path / "none")
    monkeypatch.setattr("tests.machine.time.monotonic", clock)
    watch = Stopwatch()
    clock.advance(2.0)
    assert watch.seconds == 2.0
