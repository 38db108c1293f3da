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


def peers_rows() -> list[list[str]]:
    """One row a target; what could not be measured says so."""
    of = result("peers")
    rows = [["target", "req/s", "of the bare app", "p50, p99 in ms", "microseconds of processor"]]
    for row in of["rows"]:
        p50, p99 = (row[name]["median"] for name in ("p50_ms", "p99_ms"))
        name = f"**{row['what']}**" if row["ours"] else row["what"]
        cells = [name, f"{row['per_second']['median']:,.0f}", share(row["share"])]
        rows.append([*cells, f"{p50:.2f}, {p99:.2f}", f"{row['cpu_us']['median']:.0f}"])
    rows += [[name, "not installed", "", "", ""] for name in of["missing"]]
    return rows


def hit_rows() -> list[list[str]]:
    """One row a kind of hit."""
    rows = [["a call", "microseconds (quartiles)", "over the bare app", "calls: Python, C"]]
    for row in result("hit")["rows"]:
        us = row["us"]
        cells = [row["name"], f"{us['median']:.1f} ({us['least']:.1f} to {us['greatest']:.1f})"]
        calls = f"{row['python_calls']:.0f}, {row['c_calls']:.0f}"
        rows.append([*cells, f"{row['over_bare']:.1f}", calls])
    return rows


def growth_rows() -> list[list[str]]:
    """One row a store and number of stored responses; costs are microseconds."""
    costs = {"hit": "hit", "store": "stored miss", "purge_group": "purge: a group"}
    costs["purge_all"] = "everything"
    rows = [["store", "responses", *costs.values(), "bytes each: near", "in Redis"]]
    for row in result("growth")["rows"]:
        for cell in row["cells"]:
            cells = [row["store"], f"{cell['count']:,}"]
            cells += [f"{cell[cost]['median']:.1f}" for cost in costs]
            near = f"{cell['near_bytes']:,.0f}" if row["store"] != "redis" else ""
            far = f"{cell['far_bytes']:,.0f}" if row["store"] != "memory" else ""
            rows.append([*cells, near, far])
    return rows


def share(figure: dict[str, Any]) -> str:
    """A share, the median of the rounds, with its spread."""
    return "{median:.2f} ({least:.2f} to {greatest:.2f})".format(**figure)


ALWAYS: Final = {
    "throughput": throughput_rows,
    "techniques": techniques_rows,
    "figures": figures_rows,
}
LATER: Final = {
    "peers": (peers_rows, "requests a second and p99 of asgi_cache beside others"),
    "hit": (hit_rows, "microseconds of each kind of hit"),
    "growth": (growth_rows, "costs by the number of stored responses"),
}
"""Those that stand in README once they have been run, after the paragraph about their command."""


def tables() -> dict[str, str]:
    """README's measured tables by the name in their mark."""
    measured = {name: rows for name, (rows, _) in LATER.items() if has_result(name)}
    found = {}
    for name, rows_of in (ALWAYS | measured).items():
        rows = rows_of()
        lines = [f"| {' | '.join(row)} |" for row in rows]
        lines.insert(1, "|---" * len(rows[0]) + "|")
        found[name] = "\n".join(lines) + "\n"
    return found


def has_result(name: str) -> bool:
    """Whether a benchmark has been run in full and written where README looks."""
    return (RESULTS / f"{name}.json").exists()


def conditions(name: str) -> str:
    """The machine and the way of measuring, in words."""
    of = result(name)
    machine = of["machine"]
    quick = " with `--quick`" if of["quick"] else ""
    where = f"Measured{quick} on {machine['cores']} cores, {machine['system']}, "
    where += f"Python {machine['python']}"
    if name in ("hit", "growth"):
        return f"{where}, uvloop, {of['rounds']} interleaved rounds; medians."
    if name == "peers":
        named = [part for text in of["versions"].values() for part in text.split(", ")]
        versions = ", ".join(dict.fromkeys(named))
        goals = of["goals"]
        reached = sum(goal["reached"] for goal in goals)
        where += f", {of['cell']['words']}, {versions}"
        end = f"; medians, least and greatest. Of {len(goals)} goals {reached} were reached"
        not_reached = [f"{g['text']} ({g['figure']:.2f})" for g in goals if not g["reached"]]
        end += f"; not: {'; '.join(not_reached)}" if not_reached else ""
    else:
        where += f", {of['server']}, {of['database']}"
        end = "; medians, least and greatest of the rounds"
    return (
        f"{where}, load by {of['load']} over {of['connections']} connections, "
        f"{of['rounds']} interleaved rounds of {of['seconds']} s{end}."
    )


def section(name: str, table: str) -> str:
    """A table that README did not have, with its picture and its conditions."""
    return (
        f"<!-- table: {name} -->\n{table}\n"
        f"![{LATER[name][1]}](benchmarks/results/{name}.png)\n\n"
        f"<!-- conditions: {name} -->\n{conditions(name)}\n"
    )


def rewritten(text: str) -> str:
    """README's *text* with the tables as the results are now."""
    for name, table in tables().items():
        mark = f"<!-- table: {name} -->\n"
        if mark in text:
            head, _, rest = text.partition(mark)
            text = head + mark + table + re.sub(r"^(?:[|].*\n)*", "", rest)
        elif name in LATER:
            paragraph = re.search(rf"^`python -m benchmarks\.{name}`.*?\n\n", text, re.M | re.S)
            if paragraph is None:
                raise SystemExit(f"README.md has no paragraph about benchmarks.{name}")
            text = f"{text[: paragraph.end()]}{section(name, table)}\n{text[paragraph.end() :]}"
        else:
            raise SystemExit(f"README.md has no table marked {name!r}")
        mark = f"<!-- conditions: {name} -->\n"
        head, found, rest = text.partition(mark)
        if found:
            text = f"{head}{mark}{conditions(name)}\n{rest.partition(chr(10))[2]}"
    return text


def main() -> None:
    """Rewrite README's tables."""
    README.write_text(rewritten(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
