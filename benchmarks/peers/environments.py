"""Where each peer lives: in this environment, or in one of its own where its needs are others."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks.processes import ROOT, MissingError

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = ROOT / ".peers"
_SERVERS: Final = ("uvicorn[standard]", "granian>=2.0", "hiredis")
OWN: Final = {
    # Starlette below 1; and redis-py below 5.
    "starlette-caches": ("starlette-caches[redis]>=0.4", *_SERVERS),
    "fastapi-cache2": ("fastapi-cache2[redis]>=0.2.2", "jinja2", *_SERVERS),
}
"""What is installed for those that cannot live with the rest."""
MODULES: Final = {"hishel": "hishel.asgi", "litestar": "litestar"}
"""Those that live in this environment, with the extra ``peers``, by what is imported."""
_VERSIONS: Final = (
    "import importlib.metadata as m, json, sys\n"
    "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
)
_TOGETHER: Final = ("redis", "uvicorn")


def install(folder: Path = FOLDER) -> None:
    """Make the environments of those peers that need one of their own."""
    for peer, needs in OWN.items():
        place = folder / peer
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        command = [str(_python_in(place)), "-m", "pip", "install", "-q", "--upgrade", *needs]
        if subprocess.run(command, check=False).returncode:
            raise MissingError(f"{peer} could not be installed into {place}; see above")
        print(f"{peer}: {place}")


def _python_in(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@functools.cache
def python_of(peer: str, folder: Path = FOLDER) -> str:
    """The interpreter that has *peer* (empty: ours); :class:`MissingError` where none has."""
    if peer in OWN:
        python = _python_in(folder / peer)
        if not python.exists():
            raise MissingError(f"{peer} is not installed; python -m benchmarks.peers --install")
        return str(python)
    if peer:
        try:
            found = importlib.util.find_spec(MODULES[peer])
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise MissingError(f"{peer} is not installed; pip install -e '.[peers]'")
    return sys.executable


def program(proxy: str) -> str:
    """The path of *proxy*; :class:`MissingError` where it is not installed."""
    # Where servers are installed is not on everybody's PATH.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(proxy, path=path)
    if found is None:
        package = {"varnishd": "varnish"}.get(proxy, proxy)
        raise MissingError(f"{proxy} is not installed; apt-get install {package}, or the like")
    return found


def version_of(peer: str, proxy: str) -> str:
    """What is measured, in words: of a peer also the redis-py that it uses."""
    if proxy:
        done = subprocess.run([program(proxy), "-V"], capture_output=True, text=True, check=False)
        said = (done.stderr or done.stdout).splitlines()
        return said[0] if said else "unknown"
    done = subprocess.run(
        [python_of(peer), "-c", _VERSIONS, peer or "asgi-cache", *_TOGETHER],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return "unknown"
    versions: dict[str, str] = json.loads(done.stdout)
    return ", ".join(f"{name} {version}" for name, version in versions.items())
