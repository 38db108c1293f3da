"""The tests of the policy, once for each mutant, in children of one process that collected them."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from _pytest.main import pytest_runtestloop as run_items

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FunctionType

    from tests.mutations.sites import Mutant

SECONDS: Final = 30
"""After which a mutant that has not ended, in a loop for instance, counts as killed."""

SURVIVED: Final = 0
KILLED: Final = 1
BROKEN: Final = 2
"""What a child ends with, where no signal ends it; pytest itself broke down in the last case."""


class Verdict(NamedTuple):
    """What became of one mutant."""

    mutant: Mutant
    code: int
    """What its child ended with: negative where a signal ended it."""
    seconds: float

    @property
    def killed(self) -> bool:
        """A test failed, or what ran did not come to an end."""
        return self.code != SURVIVED


class Plugin:
    """Takes the place of pytest's loop over the collected tests."""

    def __init__(self, mutants: Sequence[Mutant], jobs: int) -> None:
        self.mutants = mutants
        self.jobs = jobs
        self.verdicts: list[Verdict] = []
        self.failed_before: list[str] = []
        self._durations: dict[str, float] = {}

    def pytest_configure(self) -> None:
        """Few examples, always the same, and none made smaller: a failure is enough."""
        # Here, for pytest wants to be first with the plugins that it rewrites.
        import hypothesis

        hypothesis.settings.register_profile(
            "mutations",
            database=None,
            deadline=None,
            derandomize=True,
            max_examples=25,
            phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.settings.load_profile("mutations")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """First the tests as they are, for their durations; then each mutant."""
        self._durations = self._baseline(session)
        if self.failed_before:
            return True
        running: dict[int, tuple[Mutant, float]] = {}
        waiting = list(reversed(self.mutants))
        while waiting or running:
            while waiting and len(running) < self.jobs:
                mutant = waiting.pop()
                running[self._child(session, mutant)] = (mutant, time.monotonic())
            process, status = os.wait()
            mutant, started = running.pop(process)
            seconds = time.monotonic() - started
            code = os.waitstatus_to_exitcode(status)
            self.verdicts.append(Verdict(mutant, code, seconds))
            report(self.verdicts[-1], len(self.verdicts), len(self.mutants))
        return True

    def _baseline(self, session: pytest.Session) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "durations")
            process = os.fork()
            if not process:
                try:
                    timer = Timer()
                    session.config.pluginmanager.register(timer)
                    run(session, session.items)
                    path.write_text(json.dumps([timer.failed, timer.seconds]), encoding="utf-8")
                finally:
                    os._exit(SURVIVED)
            os.waitpid(process, 0)
            found: dict[str, float]
            self.failed_before, found = json.loads(path.read_text(encoding="utf-8"))
            return found

    def _child(self, session: pytest.Session, mutant: Mutant) -> int:
        sys.stdout.flush()
        process = os.fork()
        if process:
            return process
        # The default action ends the process, whatever it is doing.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        function_of(mutant).__code__ = mutant.code
        try:
            code = run(session, self._order(session.items, mutant))
        except BaseException:
            code = BROKEN
        os._exit(code)

    def _order(self, items: list[pytest.Item], mutant: Mutant) -> list[pytest.Item]:
        """Those of the module first, then the others, the quick ones before the slow ones."""
        own = f"test_{mutant.module.rpartition('.')[2]}.py"

        def rank(item: pytest.Item) -> tuple[bool, bool, float]:
            seconds = self._durations.get(item.nodeid, 0.0)
            return seconds > 0.2, item.path.name != own, seconds

        return sorted(items, key=rank)


class Timer:
    """How long each test takes, and which fail."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)


def run(session: pytest.Session, items: list[pytest.Item]) -> int:
    """Run *items* up to the first failure, in silence: a child's last act but one."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    session.items = items
    session.config.option.maxfail = 1
    with contextlib.suppress(session.Failed):
        run_items(session)
    return KILLED if session.testsfailed else SURVIVED


def function_of(mutant: Mutant) -> FunctionType:
    """The live function that *mutant* is a changed version of."""
    found = import_module(mutant.module)
    for part in mutant.function.split("."):
        found = inspect.getattr_static(found, part)
    if isinstance(found, property):
        found = found.fget
    assert inspect.isfunction(found), mutant.function
    return found


def report(verdict: Verdict, done: int, count: int) -> None:
    """A line for a survivor, and the state of things now and then."""
    mutant = verdict.mutant
    if verdict.code not in (SURVIVED, KILLED):
        print(f"  ended with {verdict.code}: line {mutant.line} {mutant.place}")
    if not verdict.killed:
        print(f"  survived after {verdict.seconds:.1f} s: line {mutant.line} {mutant.place}")
    elif done % 50 == 0:
        print(f"  {done} of {count}", flush=True)


def verdicts_of(mutants: Sequence[Mutant], tests: Sequence[str], jobs: int) -> list[Verdict]:
    """Run *tests* for each of *mutants*; RuntimeError where they fail without one."""
    plugin = Plugin(mutants, jobs)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:cov", "--no-header", "--no-summary", "-s"]
    pytest.main([*options, *tests], plugins=[plugin])
    if plugin.failed_before:
        raise RuntimeError(f"fails without a mutant: {plugin.failed_before[0]}")
    return plugin.verdicts
