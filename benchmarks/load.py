"""One measurement: a load of some seconds on one server, by wrk or by the built-in generator."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.generator import Job
from benchmarks.processes import ROOT, MissingError
from benchmarks.traffic import BROWSER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.traffic import Request

TOOLS: Final = ("auto", "wrk", "builtin")
LONGER: Final = (1, 2, 4, 8)
"""Times the seconds asked for."""
_MILLISECONDS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}

_SCRIPT: Final = """
local requests, position = {}, 0
function init(arguments)
  for line in io.lines(arguments[1]) do
    local path, cookie = line:match("^([^\\t]*)\\t(.*)$")
    local fields = {}
    for name, value in pairs(wrk.headers) do fields[name] = value end
    if cookie ~= "" then fields["Cookie"] = cookie end
    requests[#requests + 1] = wrk.format("GET", path, fields)
  end
end
function request()
  position = position % #requests + 1
  return requests[position]
end
"""


@dataclass(frozen=True)
class Sample:
    """What one load did; times are milliseconds."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    own: int = 0
    """Answers that came out of the clients' own caches."""


class BrokenError(Exception):
    """A load that did not go through: errors, or a report that cannot be read."""


def choose(tool: str) -> str:
    """``wrk`` or ``builtin``, for one of :data:`TOOLS`."""
    if tool == "auto":
        return "wrk" if shutil.which("wrk") else "builtin"
    if tool == "wrk" and not shutil.which("wrk"):
        raise MissingError("wrk is not on PATH; install it, or use --load builtin")
    return tool


def put_load(
    tool: str, port: int, requests: Sequence[Request], seconds: float, connections: int
) -> Sample:
    """*connections* closed loops over *requests*, in turn, for *seconds*.

    For longer where nothing was answered in that time, as on a machine that has stood still.
    Raises :class:`BrokenError` where a response was an error.
    """
    for longer in LONGER:
        if tool == "wrk":
            sample = _wrk(port, requests, longer * seconds, connections)
        else:
            sample = generate(port, requests, longer * seconds, connections)
        if sample.errors or sample.requests:
            break
    if sample.errors or not sample.requests:
        raise BrokenError(
            f"{sample.errors} errors in {sample.requests} requests, the first to {requests[0].path}"
        )
    return sample


def _wrk(port: int, requests: Sequence[Request], seconds: float, connections: int) -> Sample:
    with tempfile.TemporaryDirectory(prefix="bench-wrk-") as directory:
        script, listing = Path(directory, "requests.lua"), Path(directory, "requests.txt")
        script.write_text(_SCRIPT)
        listing.write_text(
            "".join(f"{r.path}\t{dict(r.fields).get('Cookie', '')}\n" for r in requests)
        )
        fields = [part for name, value in BROWSER.items() for part in ("-H", f"{name}: {value}")]
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--latency"]
        command += ["--timeout", "30s", "-s", str(script), *fields, f"http://127.0.0.1:{port}"]
        done = subprocess.run(
            [*command, "--", str(listing)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise BrokenError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    return parse_wrk(done.stdout)


def parse_wrk(report: str) -> Sample:
    """wrk's report with ``--latency``; :class:`BrokenError` where it is not one."""
    total = re.search(r"(\d+) requests in ([\d.]+)(\w+)", report)
    rate = re.search(r"Requests/sec: +([\d.]+)", report)
    p50 = re.search(r"\b50% +([\d.]+)(\w+)", report)
    p99 = re.search(r"\b99% +([\d.]+)(\w+)", report)
    if total is None or rate is None or p50 is None or p99 is None:
        raise BrokenError(f"wrk said something unexpected: {report!r}")
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    sockets = re.search(r"Socket errors: (.*)", report)
    errors = int(statuses[1]) if statuses else 0
    errors += sum(map(int, re.findall(r"\d+", sockets[1]))) if sockets else 0
    return Sample(
        requests=int(total[1]),
        per_second=float(rate[1]),
        p50_ms=float(p50[1]) * _MILLISECONDS[p50[2]],
        p99_ms=float(p99[1]) * _MILLISECONDS[p99[2]],
        errors=errors,
    )


def generate(
    port: int, requests: Sequence[Request], seconds: float, connections: int, visit: int = 0
) -> Sample:
    """The same by the built-in generator; *visit* as for :class:`Job`."""
    texts = [as_text(request, port) for request in requests]
    job = Job("127.0.0.1", port, seconds, connections, texts, visit)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.generator"],
        input=json.dumps(asdict(job)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BrokenError(f"the load generator failed: {done.stderr.strip().splitlines()[-1:]}")
    seen = json.loads(done.stdout)
    return Sample(
        requests=seen["requests"],
        per_second=seen["requests"] / seen["seconds"],
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        errors=seen["errors"],
        own=seen["own"],
    )


def as_text(request: Request, port: int) -> str:
    """*request* as it goes over the wire."""
    fields = {"Host": f"127.0.0.1:{port}"} | BROWSER | dict(request.fields)
    lines = [f"GET {request.path} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
    return "\r\n".join([*lines, "", ""])
