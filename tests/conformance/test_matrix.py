"""What all cells together show, and that a broken one hides nothing."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from . import matrix
from .matrix import Ran
from .scoring import Cell, Outcome, Test
from .suite import Suite

SUITE = Suite("dev", "suite 1.0", Path("suite"), ".", "node")
TESTS = {
    test.id: test
    for test in (Test("a", "A"), Test("b", "B", kind="optimal"), Test("c", "C", kind="check"))
}
H11, HYPERCORN = Cell("uvicorn-h11", "memory", "default"), Cell("hypercorn", "redis", "default")
RFC = Cell("uvicorn-h11", "memory", "rfc")
NOT = {"required": Outcome.FAIL, "optimal": Outcome.OPTIONAL_FAIL, "check": Outcome.NO}
NOTHING: dict[str, dict[str, str]] = {"default": {}, "rfc": {}}


def ran(cell: Cell, *failed: str, remarks: tuple[str, ...] = ()) -> Ran:
    outcomes = {i: NOT[t.kind] if i in failed else Outcome.PASS for i, t in TESTS.items()}
    return Ran(cell, outcomes, dict.fromkeys(failed, "no answer"), remarks)


def conclusion(
    capsys: pytest.CaptureFixture[str], *cells: Ran, **reasons: dict[str, str]
) -> tuple[int, list[str]]:
    code = matrix.conclude(SUITE, TESTS, {**NOTHING, **reasons}, cells)
    return code, capsys.readouterr().out.splitlines()


def test_all_alike(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [ran(H11, "a", remarks=("on the second try only: c",)), ran(HYPERCORN, "a")]
    code, lines = conclusion(capsys, *cells, default={"a": "It cannot."})
    assert code == 0
    assert [" ".join(line.split()) for line in lines] == [
        "",
        "suite 1.0 required optimal check",
        "default uvicorn-h11 memory 0 of 1 1 of 1 1 of 1",
        "on the second try only: c",
        "default hypercorn redis 0 of 1 1 of 1 1 of 1",
        "every cell as its list says, and all cells of a profile alike",
    ]


def test_a_departure_of_every_cell_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = conclusion(capsys, ran(H11, "a"), ran(HYPERCORN, "a"), default={"b": "No."})
    assert code == 1
    assert lines[-2:] == [
        "error: required a: not passed, not in not_passed_dev.toml: no answer",
        "error: optimal b: passed, though in not_passed_dev.toml",
    ]


def test_cells_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = conclusion(capsys, ran(H11), ran(HYPERCORN, "c"), ran(RFC, "a"), rfc={"a": "No."})
    assert code == 1
    assert lines[-2:] == [
        "error: check c: not passed, not in not_passed_dev.toml (hypercorn redis): no answer",
        "error: check c: default passes (uvicorn-h11 memory), not (hypercorn redis)",
    ]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("Off (design: decision 6).", 0), ("Off (design: section 9).", 0), ("It is off.", 1)],
)
def test_what_rfc_passes_needs_a_decision(
    reason: str, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = conclusion(capsys, ran(H11, "b"), ran(RFC), default={"b": reason})
    assert code == expected
    if expected:
        assert lines[-1] == (
            "error: optimal b: rfc passes it, and its reason in not_passed_dev.toml "
            "names no decision"
        )


def test_a_broken_cell_stands_last(capsys: pytest.CaptureFixture[str]) -> None:
    broken = Ran(HYPERCORN, {}, {}, broken="exited with 1:\nserver exited with 3:\nboom")
    code, lines = conclusion(capsys, ran(H11, "a"), broken)
    assert code == 1
    assert "default  hypercorn          redis       broke down" in lines
    assert lines[-4:] == [
        "error: required a: not passed, not in not_passed_dev.toml: no answer",
        "error: hypercorn, redis, profile default: exited with 1:",
        "error: hypercorn, redis, profile default: server exited with 3:",
        "error: hypercorn, redis, profile default: boom",
    ]


DOCUMENT: dict[str, Any] = {
    "outcomes": {"pass": ["b"], "fail": ["a"]},
    "messages": {"a": "no answer"},
    "passed_on_second_try": ["b"],
    "wavering": ["c"],
}


def test_cells_run_in_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = {
        H11: "import sys, json; open(sys.argv[1], 'w').write(sys.argv[2]); sys.exit(1)",
        RFC: "raise SystemExit('error: no such setting')",
    }

    def started(cell: Cell, options: Sequence[str], scratch: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", programs[cell], str(scratch / f"{cell.slug}.json")]
        with (scratch / f"{cell.slug}.log").open("wb") as log:
            return subprocess.Popen([*command, *options], stdout=log, stderr=subprocess.STDOUT)

    monkeypatch.setattr(matrix, "_started", started)
    keep = tmp_path / "kept"
    options = [json.dumps({**DOCUMENT, "raw": {}})]
    good, broken = matrix.run([H11, RFC], options, jobs=2, keep=keep, edition="npm")
    assert good.outcomes == {"a": Outcome.FAIL, "b": Outcome.PASS}
    assert good.messages == {"a": "no answer"}
    assert good.remarks == ("on the second try only: b", "not in every run: c")
    assert broken.broken == "exited with 1:\nno such setting"
    kept = keep / "conformance-npm-default-uvicorn-h11-memory.json"
    assert [*keep.iterdir()] == [kept]
    assert json.loads(kept.read_text("utf-8")) == DOCUMENT
    said = capsys.readouterr().out
    assert "uvicorn-h11, memory, profile default: done" in said
    assert "uvicorn-h11, memory, profile rfc: broke down" in said


def test_what_runs_is_stopped_on_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def started(cell: Cell, options: Sequence[str], scratch: Path) -> subprocess.Popen[bytes]:
        if processes:
            raise KeyboardInterrupt
        processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return processes[0]

    monkeypatch.setattr(matrix, "_started", started)
    with pytest.raises(KeyboardInterrupt):
        matrix.run([H11, RFC], [], jobs=2, keep=None, edition="npm")
    assert processes[0].returncode is not None
