"""Every cell, and what only all of them together can show: that they do not differ.

Each cell is a run of this command in a process of its own, so that a few can go on at a time and a
broken one takes nobody with it; what it found comes back as the JSON that it writes.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .lists import MEASURE, list_of
from .report import MOST_ERRORS, at_most, print_errors
from .scoring import Cell, Outcome, Surprises, Test, score_of
from .suite import Suite

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.2
STOP_SECONDS = 20.0
TAIL_LINES = 20
# How a reason names what was decided in the project's design.
DECISION = re.compile(r"\(design: (?:decision|section) \d+\b")


@dataclass(frozen=True)
class Ran:
    """A cell and what it found, or what it said when it broke down."""

    cell: Cell
    outcomes: Mapping[str, Outcome]
    messages: Mapping[str, str]
    remarks: tuple[str, ...] = ()
    broken: str | None = None

    @classmethod
    def read(cls, cell: Cell, document: Mapping[str, Any]) -> Self:
        """From the JSON of a run."""
        late, wavering = document["passed_on_second_try"], document["wavering"]
        return cls(
            cell,
            {i: Outcome(value) for value, ids in document["outcomes"].items() for i in ids},
            document["messages"],
            (
                *([f"on the second try only: {', '.join(late)}"] if late else []),
                *([f"not in every run: {', '.join(wavering)}"] if wavering else []),
            ),
        )

    def passed(self, test_id: str) -> bool:
        """Whether the test counts."""
        return self.outcomes[test_id].passed


def run(
    cells: Sequence[Cell], options: Sequence[str], *, jobs: int, keep: Path | None, edition: str
) -> list[Ran]:
    """Run all cells, `jobs` at a time, each with `options`; `keep` is a folder for their JSON."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
        waiting = list(cells)
        running: dict[Cell, tuple[subprocess.Popen[bytes], float]] = {}
        stack.callback(lambda: _stop([process for process, _ in running.values()]))
        found: dict[Cell, Ran] = {}
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.pop(0)
                running[cell] = (_started(cell, options, scratch), time.monotonic())
            for cell, (process, since) in list(running.items()):
                if process.poll() is not None:
                    del running[cell]
                    found[cell] = _found(cell, process.returncode, scratch, keep, edition)
                    state = "broke down" if found[cell].broken else "done"
                    print(f"{cell}: {state}, {time.monotonic() - since:.0f} s", flush=True)
            time.sleep(POLL_SECONDS)
        return [found[cell] for cell in cells]


def _started(cell: Cell, options: Sequence[str], scratch: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.conformance", *options]
    command += ["--server", cell.server, "--store", cell.store, "--profile", cell.profile]
    command += ["--json", str(scratch / f"{cell.slug}.json")]
    with (scratch / f"{cell.slug}.log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )


def _found(cell: Cell, code: int, scratch: Path, keep: Path | None, edition: str) -> Ran:
    try:
        document = json.loads((scratch / f"{cell.slug}.json").read_text("utf-8"))
    except FileNotFoundError:
        said = (scratch / f"{cell.slug}.log").read_text("utf-8", "replace").splitlines()
        tail = [line.removeprefix("error: ") for line in said[-TAIL_LINES:]]
        return Ran(cell, {}, {}, broken="\n".join([f"exited with {code}:", *tail]))
    if keep is not None:
        kept = {name: value for name, value in document.items() if name != "raw"}
        path = keep / f"conformance-{edition}-{cell.slug}.json"
        path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    return Ran.read(cell, document)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()  # each stops what it started
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def conclude(
    suite: Suite,
    tests: Mapping[str, Test],
    reasons: Mapping[str, Mapping[str, str]],
    ran: Sequence[Ran],
) -> int:
    """Print the table, then everything that is wrong; returns the exit code."""
    print()
    for line in table_lines(suite.label, tests, ran):
        print(line)
    errors = [
        *at_most(MOST_ERRORS, _departures(suite, tests, reasons, ran)),
        *at_most(MOST_ERRORS, _differences(tests, ran)),
        *_undecided(suite, tests, reasons, ran),
        *_broken(ran),
    ]
    print_errors(errors)
    if not errors:
        print("every cell as its list says, and all cells of a profile alike")
    return 1 if errors else 0


def table_lines(label: str, tests: Mapping[str, Test], ran: Sequence[Ran]) -> Iterator[str]:
    """A line for each cell."""
    yield f"{label:<40}{'required':>12}{'optimal':>12}{'check':>12}"
    for each in ran:
        name = f"{each.cell.profile:<9}{each.cell.server:<19}{each.cell.store:<12}"
        if each.broken is not None:
            yield f"{name}broke down"
            continue
        counts = score_of(tests, each.outcomes).values()
        yield name + "".join(f"{f'{passed} of {total}':>12}" for passed, total in counts)
        yield from (f"  {remark}" for remark in each.remarks)


def _broken(ran: Sequence[Ran]) -> Iterator[str]:
    for each in ran:
        for line in (each.broken or "").splitlines():
            yield f"{each.cell}: {line}"


def _by_profile(ran: Sequence[Ran]) -> dict[str, list[Ran]]:
    """The cells that ran, by profile."""
    profiles: dict[str, list[Ran]] = {}
    for each in ran:
        if each.broken is None:
            profiles.setdefault(each.cell.profile, []).append(each)
    return profiles


def _departures(
    suite: Suite,
    tests: Mapping[str, Test],
    reasons: Mapping[str, Mapping[str, str]],
    ran: Sequence[Ran],
) -> Iterator[str]:
    for profile, cells in _by_profile(ran).items():
        path = list_of(suite.edition, profile)
        name = "no list" if path is None else path.name
        unlisted: dict[str, list[Ran]] = {}
        cured: dict[str, list[Ran]] = {}
        for each in cells:
            surprises = Surprises.between(each.outcomes, reasons[profile])
            for test_id in surprises.unlisted:
                unlisted.setdefault(test_id, []).append(each)
            for test_id in surprises.listed_but_passed:
                cured.setdefault(test_id, []).append(each)
        for test_id, where in unlisted.items():
            message = next((m for each in where if (m := each.messages.get(test_id))), None)
            said = f": {message}" if message else ""
            yield (
                f"{tests[test_id].kind} {test_id}: not passed, not in {name}"
                f"{_where(where, cells)}{said}"
            )
        for test_id, where in cured.items():
            kind = tests[test_id].kind
            yield f"{kind} {test_id}: passed, though in {name}{_where(where, cells)}"


def _where(where: Sequence[Ran], cells: Sequence[Ran]) -> str:
    if len(where) == len(cells):
        return ""
    return f" ({', '.join(f'{each.cell.server} {each.cell.store}' for each in where)})"


def _differences(tests: Mapping[str, Test], ran: Sequence[Ran]) -> Iterator[str]:
    for profile, cells in _by_profile(ran).items():
        for test_id in (test_id for test_id in tests if test_id in cells[0].outcomes):
            passed = [each for each in cells if each.passed(test_id)]
            if 0 < len(passed) < len(cells):
                others = [each for each in cells if each not in passed]
                yield (
                    f"{tests[test_id].kind} {test_id}: {profile} passes"
                    f"{_where(passed, cells)}, not{_where(others, cells)}"
                )


def _undecided(
    suite: Suite,
    tests: Mapping[str, Test],
    reasons: Mapping[str, Mapping[str, str]],
    ran: Sequence[Ran],
) -> Iterator[str]:
    """What another profile loses against MEASURE without naming the decision behind it."""
    profiles = _by_profile(ran)
    for profile, cells in profiles.items():
        if profile == MEASURE or MEASURE not in profiles:
            continue
        for test_id, reason in reasons[profile].items():
            lost = profiles[MEASURE][0].passed(test_id) and not cells[0].passed(test_id)
            if lost and not DECISION.search(reason):
                path = list_of(suite.edition, profile)
                yield (
                    f"{tests[test_id].kind} {test_id}: {MEASURE} passes it, and its reason in "
                    f"{path.name if path else profile} names no decision"
                )
