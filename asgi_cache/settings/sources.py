"""Where settings come from: keyword, then environment, then a TOML file; each setting whole.

A setting is taken from the highest source that has it and never merged with a lower one: a
``paths`` of the environment replaces the file's. What must not be here: how a file is found and
read (``files``), what a value may be (``allowed``), what it means (``settings``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from asgi_cache.settings.files import CONFIG_VARIABLE
from asgi_cache.settings.refusals import Problem, quoted, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic.fields import FieldInfo

    from asgi_cache.settings.files import File

PREFIX: Final = "ASGI_CACHE_"
KEYWORD: Final = "keyword"
COMMAND_LINE: Final = "command line"
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


def readers_of(fields: Mapping[str, FieldInfo]) -> dict[str, FromText | None]:
    """How the text of each setting is read; ``None``: it is given by keyword only."""
    return {
        name: next((mark for mark in field.metadata if isinstance(mark, FromText)), None)
        for name, field in fields.items()
    }


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


def read_list(text: str) -> object:
    """A list in JSON."""
    return _json(text, 'a list in JSON, for example ["a", "b"]')


def read_table(text: str) -> object:
    """An object in JSON, without a repeated key (the second would hide the first)."""
    return _json(text, 'a table in JSON, for example {"/products/{id}": 60}')


def _json(text: str, allowed: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError:
        pass
    except json.JSONDecodeError as error:
        # Its messages quote nothing of the document.
        allowed += f"; {error.msg} (at character {error.pos + 1})"
    except ValueError as error:
        if isinstance(error, _RepeatedKeyError):
            raise
    # Raised out here so that no context keeps the document.
    raise ValueError(allowed)


class _RepeatedKeyError(ValueError):
    pass


def _without_repeats(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _RepeatedKeyError("JSON in which no key of an object occurs twice")
    return table


def resolve(
    readers: Mapping[str, FromText | None],
    overrides: Mapping[str, object],
    environ: Mapping[str, str],
    file: File | None,
    *,
    overridden_by: str = KEYWORD,
) -> Resolved:
    """For each setting that any source has, the value of the highest one; and what is wrong.

    *readers* has every setting's name. *overridden_by* is the source of *overrides*.
    """
    problems = [unknown(name, readers) for name in overrides if name not in readers]
    variables = _variables(readers, environ, problems)
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
    given |= {
        name: Given(value, overridden_by) for name, value in overrides.items() if name in readers
    }
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
