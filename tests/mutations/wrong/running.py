"""One wrong version at a time, in a copy of the package, and what its tests make of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.mutations.wrong.entry import Change, Wrong

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[3]
PACKAGE: Final = "asgi_cache"
SECONDS: Final = 120
"""After which the tests of one entry are ended; that is no verdict."""
SECONDS_TO_END: Final = 10

WIDTH: Final = 200

FAILED: Final = 1
"""What pytest ends with where it ran and a test failed."""

NO_VERDICT: Final = re.compile(
    r"^(?:E +|ERROR .* - )"
    r"((?:Name|UnboundLocal|Syntax|Import|ModuleNotFound|Attribute|Type)Error\b.*)",
    re.MULTILINE,
)
"""A wrong version that is no program fails everywhere, which shows nothing."""


class Verdict(NamedTuple):
    """What became of one entry."""

    wrong: Wrong
    caught: bool
    seconds: float
    said: str
    """The test that failed, or why there is no verdict."""


def path_of(change: Change, root: Path = ROOT) -> Path:
    """The file that *change* is in."""
    return root / PACKAGE / change.file


def out_of_date(wrong: Wrong, root: Path = ROOT) -> list[str]:
    """What keeps *wrong* from being put into the present source; empty where nothing does."""
    found = []
    texts: dict[Path, str] = {}
    for change in wrong.changes:
        path = path_of(change, root)
        if not path.is_file():
            found.append(f"{change.file} is not there")
            continue
        text = texts.setdefault(path, path.read_text(encoding="utf-8"))
        count = text.count(change.old)
        if count != 1:
            line = change.old.strip().splitlines()[0]
            found.append(f"{change.file} has {count} times: {line}")
        texts[path] = text.replace(change.old, change.new)
    if not found:
        for path, text in texts.items():
            try:
                compile(text, str(path), "exec", dont_inherit=True)
            except SyntaxError as error:
                found.append(f"is no Python: {error}")
    return found


def copy_into(folder: Path) -> None:
    """What the tests need of this checkout, without the conformance suite's packages."""
    ignored = shutil.ignore_patterns("node_modules", "__pycache__", "results")
    for name in (PACKAGE, "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)


@contextlib.contextmanager
def put_in(wrong: Wrong, root: Path) -> Iterator[None]:
    """*wrong* in the copy at *root*, taken out again afterwards."""
    paths = {path_of(change, root) for change in wrong.changes}
    originals = {path: path.read_text(encoding="utf-8") for path in paths}
    try:
        for change in wrong.changes:
            path = path_of(change, root)
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(change.old, change.new), encoding="utf-8")
            forget_compiled(path)
        yield
    finally:
        for path, original in originals.items():
            path.write_text(original, encoding="utf-8")
            forget_compiled(path)


def forget_compiled(path: Path) -> None:
    """Two versions of one second and of one length would be taken for each other."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def run_tests(root: Path, tests: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """How pytest ended, ``None`` where it did not, and what it said."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "--no-header"]
    command += ["-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin"]
    command += [f"tests/{test}" for test in tests]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        # Other plugins take longer to import than most of these tests take to run.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "CI": "1",  # has hypothesis draw the same examples each time, and set no deadline
        "COLUMNS": "200",
    }
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # its servers are to end with it
            try:
                said, _ = process.communicate(timeout=SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
            return None, said
        return process.returncode, said


def judge(wrong: Wrong, root: Path) -> Verdict:
    """Put *wrong* into the copy at *root* and run its tests."""
    started = time.monotonic()
    with put_in(wrong, root):
        code, said = run_tests(root, wrong.tests, SECONDS)
    seconds = time.monotonic() - started
    no_program = NO_VERDICT.search(said)
    if code is None:
        return Verdict(wrong, False, seconds, f"no end within {SECONDS} s")
    if no_program is not None:
        return Verdict(wrong, False, seconds, f"no program: {no_program[1]}")
    if code == FAILED:
        return Verdict(wrong, True, seconds, first_failure(said))
    if code == 0:
        return Verdict(wrong, False, seconds, "survived")
    return Verdict(wrong, False, seconds, f"pytest ended with {code}:\n{said[-2000:]}")


def first_failure(said: str) -> str:
    """The test that failed, and with what, in one line."""
    found = re.search(r"^(?:FAILED|ERROR) tests/(.*)$", said, re.MULTILINE)
    return found[1][:WIDTH] if found else "?"


def verdicts_of(
    wrongs: Sequence[Wrong], jobs: int, tell: Callable[[Verdict], None]
) -> list[Verdict]:
    """Judge each of *wrongs*, *jobs* at a time; RuntimeError where a test fails without one."""
    with tempfile.TemporaryDirectory(prefix="wrong-") as folder:
        roots: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            root = Path(folder, str(number))
            root.mkdir()
            copy_into(root)
            roots.put(root)

        def with_root(work: Callable[[Path], T]) -> T:
            root = roots.get()
            try:
                return work(root)
            finally:
                roots.put(root)

        tests = sorted({test for wrong in wrongs for test in wrong.tests})
        shares = [tests[number::jobs] for number in range(jobs)]
        with ThreadPoolExecutor(jobs) as pool:

            def as_it_is(share: list[str]) -> tuple[int | None, str]:
                found = with_root(lambda root: run_tests(root, share, 5 * SECONDS))
                if found[0] == FAILED:  # some judge by the clock, and the machine may be busy
                    found = with_root(lambda root: run_tests(root, share, 5 * SECONDS))
                return found

            for code, said in pool.map(as_it_is, filter(None, shares)):
                if code != 0:
                    raise RuntimeError(f"without any change: {first_failure(said)}\n{said[-4000:]}")

            def told(wrong: Wrong) -> Verdict:
                verdict = with_root(lambda root: judge(wrong, root))
                tell(verdict)
                return verdict

            try:
                return list(pool.map(told, wrongs))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
