"""The suite: found or installed, asked for its tests, and run.

There are two of it. The npm package is the last release; development goes on at
https://github.com/http-tests/cache-tests, of which a checkout can be given:

    git clone https://github.com/http-tests/cache-tests DIR
    git -C DIR checkout <CHECKOUT_COMMIT>
    python -m tests.conformance --checkout DIR

(`python -m tests.conformance.suite` prints the URL and the commit.)

Everything that is known about a test comes from the suite, nothing of it stands here.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import HarnessError, MissingComponentError
from .scoring import Results, Test

PACKAGE = "http-cache-tests"
VERSION = "0.4.5"
# What the lists of known non-passes of a checkout are about. A checkout of another commit runs too.
CHECKOUT = "cache-tests"
CHECKOUT_URL = "https://github.com/http-tests/cache-tests"
CHECKOUT_COMMIT = "b55b8bda3dbb8c927c04e85bd8d496a8caa3e4ba"
CHECKOUT_NEEDS = "undici"  # its only dependency outside of its site

HERE = Path(__file__).parent
BRIDGE = HERE / "suite.mjs"
INSTALL_SECONDS = 300.0


@dataclass(frozen=True)
class Suite:
    """A suite that can be run."""

    edition: str
    """`npm` or `dev`: which lists of known non-passes are about it."""
    label: str
    directory: Path
    engine: str
    """The folder of its command line and its origin, relative to `directory`."""
    node: str

    def tests(self) -> dict[str, Test]:
        """The tests by id, in the suite's order."""
        listed = self._json([str(BRIDGE), str(self.directory), "list"], timeout=30)
        return {fields["id"]: Test.read(fields) for fields in listed}

    def published(self) -> list[dict[str, Any]]:
        """Public results of other caches: each its name, type, version and raw results."""
        found: list[dict[str, Any]] = self._json(
            [str(BRIDGE), str(self.directory), "published"], timeout=30
        )
        return found

    def origin(self, port: int, scratch: Path) -> tuple[list[str], dict[str, str]]:
        """Command and environment of the origin; its working directory is the suite's."""
        environment = self._environment(protocol="http", port=str(port))
        environment["npm_config_pidfile"] = str(scratch / "origin.pid")
        return [self.node, f"{self.engine}/server/server.mjs"], environment

    def run(self, base: str, *, timeout: float) -> Results:
        """All tests with the suite's own command line; `timeout` in seconds."""
        environment = self._environment(base=base, id="")
        results: Results = self._json(self._cli, environment, timeout=timeout)
        return results

    def run_alone(self, base: str, ids: list[str], *, timeout: float) -> Results:
        """These tests, one after the other; `timeout` in seconds for all of them."""
        arguments = [str(BRIDGE), str(self.directory), "run", base, *ids]
        results: Results = self._json(arguments, timeout=timeout)
        return results

    def show(self, base: str, test_id: str, *, timeout: float) -> None:
        """One test with the suite's own command line, which prints the messages it exchanged."""
        command = [self.node, *self._cli]
        environment = self._environment(base=base, id=test_id)
        try:
            subprocess.run(
                command, cwd=self.directory, env=environment, timeout=timeout, check=True
            )
        except subprocess.TimeoutExpired:
            raise HarnessError(f"{test_id} did not end in {timeout:.0f} seconds") from None
        except subprocess.CalledProcessError as error:
            raise HarnessError(f"the suite exited with {error.returncode}") from None

    @property
    def _cli(self) -> list[str]:
        return ["--no-warnings", f"{self.engine}/cli.mjs"]

    def _json(
        self, arguments: list[str], environment: dict[str, str] | None = None, *, timeout: float
    ) -> Any:
        command = [self.node, *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.directory,
                env=environment,
                timeout=timeout,
                capture_output=True,
                text=True,
            )
        except subprocess.TimeoutExpired:
            raise HarnessError(f"the suite did not end in {timeout:.0f} seconds") from None
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise HarnessError(f"the suite exited with {done.returncode}: {said}") from None

    def _environment(self, **config: str) -> dict[str, str]:
        # The suite's scripts read npm's configuration variables. An empty one falls back to the
        # package.json value that npm would have exported, so both are set.
        environment = dict(os.environ)
        for name, value in config.items():
            environment[f"npm_config_{name}"] = value
            environment[f"npm_package_config_{name}"] = value
        return environment


def installed(prefix: Path) -> Suite:
    """The package beneath `prefix`/node_modules, installed there if this version is not."""
    node = _program("node")
    wanted = f"{PACKAGE}@{VERSION}"
    directory = (prefix / "node_modules" / PACKAGE).resolve()
    if _version(directory) != VERSION:
        prefix.mkdir(parents=True, exist_ok=True)
        print(f"installing {wanted} beneath {prefix}", flush=True)
        said = _npm_install(prefix, wanted)
        if _version(directory) != VERSION:
            raise MissingComponentError(f"npm could not install {wanted}: {said}")
    return Suite("npm", f"{PACKAGE} {VERSION}", directory, ".", node)


def checked_out(directory: Path) -> Suite:
    """The checkout at `directory`, with its dependencies installed if they are not."""
    node = _program("node")
    directory = directory.resolve()
    engine = next((e for e in ("test-engine", ".") if (directory / e / "cli.mjs").exists()), None)
    if engine is None or not (directory / "tests" / "index.mjs").exists():
        raise MissingComponentError(f"{directory} is no checkout of {CHECKOUT}")
    if engine == ".":
        raise MissingComponentError(f"{directory} is older than any that this harness can run")
    needed = directory / "node_modules" / CHECKOUT_NEEDS / "package.json"
    if not needed.exists():
        print(f"installing what {directory} needs", flush=True)
        said = _npm_install(directory)
        if not needed.exists():
            raise MissingComponentError(f"npm could not install {CHECKOUT_NEEDS}: {said}")
    commit = commit_of(directory)
    if commit != CHECKOUT_COMMIT:
        at = "an unknown commit" if commit is None else commit
        print(f"{directory} is at {at}; the lists are about {CHECKOUT_COMMIT}")
    label = f"{CHECKOUT} {'of unknown commit' if commit is None else commit[:7]}"
    return Suite("dev", label, directory, engine, node)


def _npm_install(prefix: Path, *packages: str) -> str:
    """What npm said where it failed; the caller looks for what it wanted."""
    command = [_program("npm"), "install", "--prefix", str(prefix), "--no-save", "--no-audit"]
    command += ["--no-fund", "--no-package-lock", "--ignore-scripts", "--omit=dev", *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        return f"it did not end in {INSTALL_SECONDS:.0f} s"
    return (done.stderr or done.stdout).strip()[-2000:]


def commit_of(directory: Path) -> str | None:
    """The commit of a git work tree whose top is `directory`."""
    if not (directory / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), "rev-parse", "HEAD"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingComponentError(f"{name} is not on PATH: the suite needs Node.js, with npm")
    return found


def _version(directory: Path) -> str | None:
    try:
        version: str = json.loads((directory / "package.json").read_text("utf-8"))["version"]
    except FileNotFoundError:
        return None
    return version


if __name__ == "__main__":
    print(CHECKOUT_URL, CHECKOUT_COMMIT)  # for what clones it
