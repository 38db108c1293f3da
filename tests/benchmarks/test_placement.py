"""Which core whom, and whether another process disturbed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.disturbance import Disturbance, Look, disturbed, used_by
from benchmarks.placement import Placement, pinned

if TYPE_CHECKING:
    from pathlib import Path

ASK = "import os; print(sorted(os.sched_getaffinity(0)))"


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [
        ([0], 1, Placement((0,), (0,), (0,))),
        ([0, 1], 1, Placement((0,), (1,), (1,))),
        ([2, 5, 7], 1, Placement((2,), (5,), (7,))),
        ([0, 1, 2, 3], 1, Placement((0,), (1,), (2,))),
        ([0, 1], 2, Placement((0, 1), (1,), (1,))),
        ([0, 1, 2, 3], 2, Placement((0, 1), (2,), (3,))),
    ],
)
def test_the_load_takes_nothing_from_the_server(
    cores: list[int], workers: int, expected: Placement
) -> None:
    assert Placement.over(cores, workers) == expected


def test_a_child_runs_where_it_is_put_and_the_parent_stays() -> None:
    if not hasattr(os, "sched_setaffinity"):
        assert Placement.here() is None
        return
    before = os.sched_getaffinity(0)
    core = max(before)
    with pinned((core,)):
        said = subprocess.run([sys.executable, "-c", ASK], capture_output=True, check=True)
    assert said.stdout.split() == [b"[%d]" % core]
    assert os.sched_getaffinity(0) == before
    with pinned(None):
        assert os.sched_getaffinity(0) == before


def write_proc(proc: Path, busy: int, steal: int, own: int, child: int) -> None:
    """A /proc with two cores, this process, a child of it, and a stranger."""
    proc.mkdir(exist_ok=True)
    zeros = "0 0 0 0"
    (proc / "stat").write_text(f"cpu {busy} 0 0 {zeros} {steal} 0\ncpu0 {zeros}\ncpu1 {zeros}\n")
    for pid, parent, ticks in (
        (os.getpid(), 1, own),
        (999_991, os.getpid(), child),
        (999_992, 1, 5),
    ):
        (proc / str(pid)).mkdir(exist_ok=True)
        fields = f"({'a b) c'}) S {parent} 0 0 0 0 0 0 0 0 0 {ticks} 0 0 0 0"
        (proc / str(pid) / "stat").write_text(f"{pid} {fields}")


def test_what_others_had_is_what_was_used_without_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    write_proc(tmp_path, 0, 0, 0, 0)
    first = Look.now(tmp_path)
    monkeypatch.setattr("time.monotonic", lambda: 110.0)
    write_proc(tmp_path, 10 * ticks, ticks, 3 * ticks, 2 * ticks)
    second = Look.now(tmp_path)
    assert first is not None
    assert second is not None
    # Of 20 s: 10 used, 5 of these by us; 1 stolen.
    assert second.since(first) == Disturbance(steal=0.05, foreign=0.25)
    assert used_by(999_991, tmp_path) == 2
    assert Look.now(tmp_path / "nothing") is None
    assert used_by(1, tmp_path / "nothing") == 0


def test_rounds_with_less_of_the_machine_do_not_count() -> None:
    quiet, noisy, stolen = Disturbance(0, 0), Disturbance(0, 0.2), Disturbance(0.1, 0)
    reasons = disturbed([100, 89, 100, 100, 100], [quiet, quiet, noisy, stolen, None])
    assert reasons == [
        "",
        "the bare app had 89% of its median throughput",
        "other processes had 20% of the time",
        "10% of the time was stolen",
        "",
    ]
    assert disturbed([100, 200, 300], [None] * 3)[1:] == ["", ""]
