"""``python -m benchmarks.readme``: puts the measured figures into README's tables.

They are read from ``benchmarks/results``; a test holds README against the same files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
README: Final = ROOT / "README.md"
RESULTS: Final = ROOT / "benchmarks" / "results"


def result(name: str) -> dict[str, Any]:
    """What the last run of a benchmark wrote."""
    loaded: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def times(figure: dict[str, Any]) -> str:
    """A ratio, the median of the rounds, with its spread."""
    median, least, greatest = (figure[name] for name in ("median", "least", "greatest"))
    digits = 0 if median >= 20 else 1 if median >= 3 else 2
    return f"{median:.{digits}f}\u00d7 ({least:.{digits}f} to {greatest:.{digits}f})"


def throughput_rows() -> list[list[str]]:
    """One row an endpoint: requests a second, and how many times that of the uncached app."""
    rows = [["endpoint", "uncached req/s", "in memory", "on Redis"]]
    for row in result("throughput")["rows"]:
        what = row["what"].partition(";")[0]
        cells = [f"**{row['name']}**: {what}", f"{row['uncached']['per_second']['median']:,.0f}"]
        for variant in ("memory", "redis"):
            cached = row[variant]
            cells.append(f"{cached['per_second']['median']:,.0f}, {times(cached['times'])}")
        rows.append(cells)
    return rows


def techniques_rows() -> list[list[str]]:
    """One row a technique: with it, without it, and the ratio."""
    rows = [["technique", "without, req/s", "with, req/s", "times"]]
    for row in result("techniques")["rows"]:
        cells = [row["label"].replace("\n", " ")]
        for side in ("without", "with"):
            figure = row[side]
            cells.append(f"{figure['name']}: {figure['per_second']['median']:,.0f}")
        rows.append([*cells, times(row["times"])])
    return rows


def figures_rows() -> list[list[str]]:
    """One row a promise: what it was found to be, as on CI and in the long run."""
    rows = [["promise", "on CI", "in the long run"]]
    for row in result("figures")["rows"].values():
        cells = [row["what"]]
        for form in ("quick", "long"):
            found = row[form]
            told = found.get("told") or "not run yet"
            missed = ""
            if not found.get("reached", True):
                missed = f", **not reached** (load average {found['load_average']:.0f})"
            cells.append(f"{found['promise']}: *{told}*{missed}")
        if cells[2] == cells[1]:
            cells[2] = "as on CI"
        rows.append(cells)
    return rows


def tables() -> dict[str, str]:
    """README's measured tables by the name in their mark."""
    found = {}
    measured = {
        "throughput": throughput_rows(),
        "techniques": techniques_rows(),
        "figures": figures_rows(),
    }
    for name, rows in measured.items():
        lines = [f"| {' | '.join(row)} |" for row in rows]
        lines.insert(1, "|---" * len(rows[0]) + "|")
        found[name] = "\n".join(lines) + "\n"
    return found


def conditions(name: str) -> str:
    """The machine and the way of measuring, in words."""
    of = result(name)
    machine = of["machine"]
    return (
        f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}, "
        f"{of['server']}, {of['database']}, load by {of['load']} over {of['connections']} "
        f"connections, {of['rounds']} interleaved rounds of {of['seconds']} s"
    )


def main() -> None:
    """Rewrite README's tables."""
    text = README.read_text(encoding="utf-8")
    for name, table in tables().items():
        mark = f"<!-- table: {name} -->\n"
        if mark not in text:
            raise SystemExit(f"README.md has no table marked {name!r}")
        text = re.sub(rf"({re.escape(mark)})(?:\|.*\n)*", lambda found: found[1] + table, text)  # noqa: B023
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
