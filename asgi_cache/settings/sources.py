"""Where settings come from: keyword, then environment, then a TOML file; each setting whole.

A setting is taken from the highest source that has it and never merged with a lower one: a
``paths`` of the environment replaces the file's. What must not be here: what a value may be
(``allowed``), what it means (``settings``).
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asgi_cache.errors import ConfigurationError
from asgi_cache.settings.allowed import Problem, quoted, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PREFIX: Final = "ASGI_CACHE_"
CONFIG_VARIABLE: Final = "ASGI_CACHE_CONFIG"
KEYWORD: Final = "keyword"
DEFAULT: Final = "default"

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")


class Given(NamedTuple):
    """A value that is not checked yet, and the name of the source that it was taken from."""

    value: object
    source: str


class Resolved(NamedTuple):
    """What the sources say together, and what is wrong with them."""

    given: Mapping[str, Given]
    problems: Sequence[Problem]


@dataclass(frozen=True)
class FromText:
    """Marks a setting that may stand in a file or the environment: how its text is read.

    *read* raises ``ValueError(what is allowed)``. A setting without this mark is given by keyword.
    """

    read: Callable[[str], object]


class File(NamedTuple):
    """A configuration file that has been read; *name* is how errors call it."""

    name: str
    table: Mapping[str, object]


def read_number(text: str) -> object:
    """A number as people write it in an environment: ``60``, ``0.5``, ``1e3``; or ``null``."""
    if text == "null":
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


def read_switch(text: str) -> object:
    """``true``, ``1``, ``yes``, ``on`` and their opposites, in any case."""
    folded = text.lower()
    if folded in ("true", "1", "yes", "on"):
        return True
    if folded in ("false", "0", "no", "off"):
        return False
    raise ValueError("true or false")


def read_text_or_false(text: str) -> object:
    """The text itself; ``false`` in any case is the value of that name."""
    return False if text.lower() == "false" else text


def read_json(text: str) -> object:
    """A list or an object in JSON, without a repeated key (the second would hide the first)."""
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError:
        pass
    except ValueError as error:
        if isinstance(error, _RepeatedKeyError):
            raise
    # Raised out here so that no context keeps the document.
    raise ValueError('JSON, for example ["a", "b"] or {"/path": 60}')


class _RepeatedKeyError(ValueError):
    pass


def _without_repeats(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _RepeatedKeyError("JSON in which no key of an object occurs twice")
    return table


def read_file(path: Path, how: str) -> File:
    """Read a TOML file; of a ``pyproject.toml`` the table ``[tool.asgi-cache]``.

    *how* says, in errors, how it was found. Raises :class:`ConfigurationError`.
    """
    table = _toml(path, how)
    if path.name != "pyproject.toml":
        return File(str(path), table)
    own = _own_table(table)
    if own is None:
        raise ConfigurationError(
            f"{path} ({how}): allowed is a pyproject.toml with a table "
            "[tool.asgi-cache], which is missing."
        )
    return File(f"{path} [tool.asgi-cache]", own)


def find_file(directory: Path) -> File | None:
    """``asgi-cache.toml`` in *directory*, else ``[tool.asgi-cache]`` of its ``pyproject.toml``."""
    path = directory / "asgi-cache.toml"
    if path.exists():
        return read_file(path, "found in the current directory")
    path = directory / "pyproject.toml"
    if path.exists() and _own_table(_toml(path, "found in the current directory")) is not None:
        return read_file(path, "found in the current directory")
    return None


def names_file(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a configuration file."""
    return any(variable.upper() == CONFIG_VARIABLE for variable in environ)


def _own_table(document: Mapping[str, Any]) -> Mapping[str, object] | None:
    tool = document.get("tool")
    own = tool.get("asgi-cache") if isinstance(tool, dict) else None
    return own if isinstance(own, dict) else None


def _toml(path: Path, how: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        reason = f"is not TOML: {error}"
    except (ValueError, RecursionError):
        reason = "is not TOML"
    raise ConfigurationError(
        f"{path} ({how}): allowed is the name of a readable TOML file, and this one {reason}."
    )


def resolve(
    readers: Mapping[str, FromText | None],
    overrides: Mapping[str, object],
    environ: Mapping[str, str],
    file: File | None,
) -> Resolved:
    """For each setting that any source has, the value of the highest one; and what is wrong.

    *readers* has every setting's name. Where *file* is ``None``, the environment may name one.
    """
    problems = [unknown(name, readers) for name in overrides if name not in readers]
    variables = _variables(readers, environ, problems)
    if file is None and CONFIG_VARIABLE in variables:
        variable = variables[CONFIG_VARIABLE]
        file = read_file(Path(environ[variable]), f"named by {variable}")
    given: dict[str, Given] = {}
    if file is not None:
        _take_file(readers, file, given, problems)
    for name, variable in variables.items():
        if name not in overrides and (reader := readers.get(name)):
            text = environ[variable]
            try:
                given[name] = Given(reader.read(text), variable)
            except ValueError as error:
                problems.append(Problem(name, quoted(text), f"allowed is {error}", variable))
    given |= {name: Given(value, KEYWORD) for name, value in overrides.items() if name in readers}
    return Resolved(given, problems)


def _variables(
    readers: Mapping[str, FromText | None], environ: Mapping[str, str], problems: list[Problem]
) -> dict[str, str]:
    """Setting's name (or ``ASGI_CACHE_CONFIG``) -> the variable, whose case does not matter."""
    found: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX):
            continue
        name = variable[len(PREFIX) :].lower()
        name = CONFIG_VARIABLE if name == "config" else name
        if name not in readers and name != CONFIG_VARIABLE:
            problem = unknown(name, [*readers, "config"], shown=_variable_of)
            problems.append(problem._replace(key=variable))
        elif name in readers and readers[name] is None:
            problems.append(Problem(variable, None, _KEYWORD_ONLY))
        elif name in found:
            problems.append(
                Problem(variable, None, f"allowed is one spelling; {found[name]} is set too")
            )
        else:
            found[name] = variable
    return found


def _variable_of(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _take_file(
    readers: Mapping[str, FromText | None],
    file: File,
    given: dict[str, Given],
    problems: list[Problem],
) -> None:
    for name, value in file.table.items():
        if name not in readers:
            problems.append(unknown(name, readers, file.name))
        elif readers[name] is None:
            problems.append(Problem(name, None, _KEYWORD_ONLY, file.name))
        else:
            given[name] = Given(value, file.name)


_KEYWORD_ONLY: Final = "allowed is a function, given by keyword only"
