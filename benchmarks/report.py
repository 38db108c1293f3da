"""What was measured, put together: medians with their spread, the machine in words, JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.load import TOOLS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS: Final = Path(__file__).resolve().parent / "results"
_PACKAGES: Final = ("fastapi", "sqlalchemy", "uvicorn", "uvloop", "httptools", "redis", "hiredis")


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        inner = f"{self.least:{spec}}-{self.greatest:{spec}}"
        return f"{self.median:{spec}} ({inner})"


def ratios(faster: Sequence[float], slower: Sequence[float]) -> Spread:
    """How many times *faster* is *slower*, round by round: rounds are neighbours in time."""
    return Spread.of([one / other for one, other in zip(faster, slower, strict=True)])


def machine() -> dict[str, Any]:
    """Where this was measured."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "load_average_at_start": load,
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def in_words(about: Mapping[str, Any]) -> str:
    """One line for a person: what *about* (of :func:`describe`) says."""
    at = about["machine"]
    busy = at["load_average_at_start"]
    others = f"; load average before it {busy:.1f}" if busy is not None else ""
    database = f"{about['database']}, " if "database" in about else ""
    return (
        f"{at['cores']} cores, Python {at['python']}, {database}load by "
        f"{about['load']} ({about['connections']} connections), "
        f"{about['rounds']} rounds of {about['seconds']} s, interleaved; median (min-max){others}"
    )


def describe(options: argparse.Namespace, tool: str, rounds: int, seconds: int) -> dict[str, Any]:
    """The conditions of a run, for JSON and for :func:`in_words`."""
    words = {"wrk": "wrk", "builtin": "the built-in generator (asyncio, own process)"}
    about: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "server": "uvicorn, 1 worker, uvloop, httptools",
        "redis": "given by --redis" if options.redis else "a local one, started for this, over TCP",
        "load": words[tool],
        "connections": options.connections,
        "rounds": rounds,
        "seconds": seconds,
        "quick": options.quick,
        "counts": "app calls include requests that were still under way when a load ended",
    }
    if hasattr(options, "database"):
        postgresql = options.database.startswith("postgresql")
        about["database"] = "PostgreSQL" if postgresql else "SQLite"
    return about


def command_line(prog: str, what: str, quick: str) -> argparse.ArgumentParser:
    """What every benchmark takes; *quick* says what ``--quick`` does."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{prog}", description=what)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--rounds", type=positive, help="interleaved rounds")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for JSON and PNG")
    parser.add_argument(
        "--redis", default="", metavar="URL", help="redis://...; default: starts one"
    )
    return parser


def load_arguments(
    prog: str, what: str, names: Sequence[str], quick: str
) -> argparse.ArgumentParser:
    """The command line of the benchmarks that put a load on servers."""
    parser = command_line(prog, what, quick)
    parser.add_argument("--seconds", type=positive, help="each load's length; default 3, quick 1")
    parser.add_argument("--connections", type=positive, default=32)
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--load", choices=TOOLS, default="auto", help="auto: wrk where present")
    return parser


def arguments(prog: str, what: str, names: Sequence[str]) -> argparse.ArgumentParser:
    """The command line of the catalogue's benchmarks: 5 rounds, quick 3."""
    parser = load_arguments(prog, what, names, "3 rounds of 1 s; under 3 minutes")
    parser.add_argument(
        "--database",
        default="",
        metavar="URL",
        help="sqlite+aiosqlite:///..., postgresql+asyncpg://..., postgresql+psycopg://...; "
        "tables bench_* are made and kept there; default: a temporary SQLite file",
    )
    return parser


def positive(text: str) -> int:
    """A number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def write(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """*content* as ``<name>.json`` in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
