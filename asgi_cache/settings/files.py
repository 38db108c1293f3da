"""Configuration files: a TOML file that is named, or that the command line finds.

What must not be here: what of a file is taken (``sources``), what a value may be (``allowed``).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asgi_cache.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

CONFIG_VARIABLE: Final = "ASGI_CACHE_CONFIG"
GIVEN: Final = "given on the command line"
FOUND: Final = "found in the current directory"

_AT_LINE: Final = re.compile(r"\(at line ([0-9]+), column [0-9]+\)")


class File(NamedTuple):
    """A configuration file that has been read."""

    path: Path
    name: str
    """How errors call it."""
    how: str
    """How it was found: ``GIVEN``, ``FOUND`` or by which variable."""
    table: Mapping[str, object]


def read_file(path: Path, how: str, names: Container[str]) -> File:
    """Read a TOML file; of a ``pyproject.toml`` the table ``[tool.asgi-cache]``.

    *how* says, in errors, how it was found; of *names* are the keys that errors may quote. Raises
    :class:`ConfigurationError`.
    """
    table = _toml(path, how, names)
    if path.name != "pyproject.toml":
        return File(path, str(path), how, table)
    own = _own_table(table)
    if own is None:
        raise ConfigurationError(
            f"{path} ({how}): allowed is a pyproject.toml with a table "
            "[tool.asgi-cache], which is missing."
        )
    return File(path, f"{path} [tool.asgi-cache]", how, own)


def find_file(directory: Path, names: Container[str]) -> File | None:
    """``asgi-cache.toml`` in *directory*, else ``[tool.asgi-cache]`` of its ``pyproject.toml``."""
    path = directory / "asgi-cache.toml"
    if path.exists():
        return read_file(path, FOUND, names)
    path = directory / "pyproject.toml"
    if path.exists() and _own_table(_toml(path, FOUND, names)) is not None:
        return read_file(path, FOUND, names)
    return None


def named_file(environ: Mapping[str, str], names: Container[str]) -> File | None:
    """The file that ``ASGI_CACHE_CONFIG`` names, in whatever case the variable is spelled."""
    for variable in sorted(environ):
        if variable.upper() == CONFIG_VARIABLE:
            return read_file(Path(environ[variable]), f"named by {variable}", names)
    return None


def _own_table(document: Mapping[str, Any]) -> Mapping[str, object] | None:
    tool = document.get("tool")
    own = tool.get("asgi-cache") if isinstance(tool, dict) else None
    return own if isinstance(own, dict) else None


def _toml(path: Path, how: str, names: Container[str]) -> Mapping[str, Any]:
    text = ""
    try:
        text = path.read_bytes().decode()
        return tomllib.loads(text)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        reason = f"is not TOML: {error}{_hint(text, str(error), names)}"
    except (ValueError, RecursionError):
        reason = "is not TOML"
    raise ConfigurationError(
        f"{path} ({how}): allowed is the name of a readable TOML file, and this one {reason}."
    )


def _hint(text: str, message: str, names: Container[str]) -> str:
    """What to look at where *message* says that a line of *text* is not TOML.

    Of the line nothing is quoted but its key, and that only if it is one of *names*.
    """
    found = _AT_LINE.search(message)
    if found is None:
        return ""
    line = text.split("\n")[int(found[1]) - 1].strip()
    if line.startswith("/"):
        return "; a path template stands in double quotes"
    key = line.partition("=")[0].strip()
    if key in names:
        return f"; this is the line of {key}: texts stand in quotes; true, false and numbers do not"
    return "; a text stands in quotes, and so does a key such as a path template"
