"""How a setting is refused: one sentence that names the key, the value and what is allowed.

A password is never quoted, an arbitrary object by its type only. What must not be here: what is
allowed (``allowed``), where a value comes from (``sources``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Final, NamedTuple

from asgi_cache.errors import ConfigurationError

REDACTED: Final = "***"

_SECRET_OPTION: Final = re.compile(
    r"([?&][^=&]*(?:pass|secret|token|auth|credential)[^=&]*=)[^&]*", re.IGNORECASE
)
# The "@host" was forgotten.
_LONE_PASSWORD: Final = re.compile(r"(://:)[^/?#]+")
_QUOTED_CHARACTERS: Final = 120
_CONSTANT: Final = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\b(?:(?:or )?None|True|False)\b"""
)


class Problem(NamedTuple):
    """One refusal."""

    key: str
    value: str | None
    """Quoted; ``None`` where the key itself is wrong."""
    text: str
    source: str | None = None
    """The variable or file where it stands; ``None``: it was given in code."""

    def sentence(self) -> str:
        """The whole refusal."""
        value = "" if self.value is None else f" = {self.value}"
        if self.source is None:
            return f"{self.key}{value}: {self.text}."
        return f"{self.key}{_as_in_files(f'{value} (from {self.source}): {self.text}')}."


def _as_in_files(text: str) -> str:
    """*text* without Python's words for constants; what stands in quotes stays as it is."""
    words = {"or None": "or not set", "None": "null", "True": "true", "False": "false"}
    return _CONSTANT.sub(lambda found: words.get(found[0], found[0]), text)


class RefusalError(ConfigurationError):
    """A :class:`ConfigurationError` that can still be taken apart by whoever knows more."""

    def __init__(self, problems: Iterable[Problem], prefix: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{prefix}{one.sentence()}" for one in self.problems))


def unknown(
    name: str,
    names: Iterable[str],
    source: str | None = None,
    shown: Callable[[str], str] = str,
) -> Problem:
    """*name* is not one of *names*; *shown* is how the allowed ones are written."""
    known = list(names)
    close = get_close_matches(name, known, n=1)
    hint = (
        f"(did you mean {shown(close[0])}?)"
        if close
        else f"(allowed are {', '.join(map(shown, known))})"
    )
    return Problem(quoted_key(name), None, f"there is no such setting {hint}", source)


def redacted(text: str) -> str:
    """*text* without what could be a password in a URL; errs on the side of hiding."""
    head, at, tail = text.rpartition("@")
    scheme, mark, userinfo = head.rpartition("://") if at else ("", "", "")
    if at and _SECRET_OPTION.search(head):
        return f"{scheme}{mark}{REDACTED}"
    if at and (mark or ":" in head):
        # From the first "://" on: an unescaped "/", "?" or "#" in a password must not end it.
        scheme, mark, userinfo = head.partition("://") if mark else ("", "", head)
        user, colon, _ = userinfo.partition(":")
        text = f"{scheme}{mark}{user if colon else ''}{colon}{REDACTED}@{tail}"
    elif not at:
        text = _LONE_PASSWORD.sub(rf"\g<1>{REDACTED}", text)
    return _SECRET_OPTION.sub(rf"\g<1>{REDACTED}", text)


def quoted(value: object) -> str:
    """*value* as an error may quote it: short, passwords redacted, objects by their type."""
    text = _quoted(value)
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."


def quoted_key(key: str) -> str:
    """*key* as an error may quote it: as it is where it is a plain word."""
    return key if key.isidentifier() else quoted(key)


def _quoted(value: object) -> str:
    match value:
        case str():
            return repr(redacted(value))
        case None | bool() | float():
            return repr(value)
        case int() if value.bit_length() < 256:
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(map(_quoted, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{_quoted(k)}: {_quoted(v)}' for k, v in value.items())}}}"
        case _:
            kind = value if isinstance(value, type) else type(value)
            return f"<{kind.__module__}.{kind.__qualname__}>"
