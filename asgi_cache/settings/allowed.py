"""What a setting may be: checks that return the value, or raise ``ValueError(what is allowed)``.

What must not be here: where a value comes from (``sources``), which setting it is for
(``settings``), how a refusal is worded and what it may quote (``refusals``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

from asgi_cache.settings.refusals import REDACTED, Problem, RefusalError, quoted, redacted

T = TypeVar("T")
Check: TypeAlias = Callable[[object], T]

LONGEST_SECONDS: Final = 2**31 - 1
"""RFC 9111 §1.2.2: the largest delta-seconds that every recipient can hold."""
MOST_PORT: Final = 65535
STORE_SCHEMES: Final = ("memory", "redis", "rediss", "unix")

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_AUTHORITY: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{1,5})?")
_ADDRESS: Final = re.compile(r"(?:\[[^]]+\]|[^:\[\]]+)(?::(.*))?")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(?:-[0-9A-Za-z]{1,8})*")
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def number(allowed: str, fits: Callable[[float], bool]) -> Check[float]:
    """A finite number for which *fits* holds; never a ``bool``."""

    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
            raise ValueError(allowed)
        return float(value)

    return check


def whole(allowed: str, fits: Callable[[int], bool]) -> Check[int]:
    """A whole number (``int``) for which *fits* holds; never a ``bool``."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not fits(value):
            raise ValueError(allowed)
        return value

    return check


def optional(check: Check[T]) -> Check[T | None]:
    """What *check* allows, or ``None``."""

    def check_optional(value: object) -> T | None:
        if value is None:
            return None
        try:
            return check(value)
        except ValueError as error:
            allowed = f"{error}, or None"
        raise ValueError(allowed)

    return check_optional


def one_of(*values: object) -> Check[object]:
    """Exactly one of *values*, of the same type: ``1`` is not ``True``."""
    allowed = " or ".join(map(repr, values))

    def check(value: object) -> object:
        if not any(type(value) is type(one) and value == one for one in values):
            raise ValueError(allowed)
        return value

    return check


def several(what: str, fits: Callable[[str], bool], most: int | None = None) -> Check[list[str]]:
    """A list or tuple of texts for each of which *fits* holds; a single text is not a list."""
    limit = "" if most is None else f"at most {most} "
    allowed = f"a list of {limit}{what}"

    def check(value: object) -> list[str]:
        if not isinstance(value, list | tuple) or (most is not None and len(value) > most):
            raise ValueError(allowed)
        for one in value:
            if not isinstance(one, str) or not fits(one):
                raise ValueError(f"{allowed}; {quoted(one)} is not one")
        return list(value)

    return check


def is_token(text: str) -> bool:
    """Whether *text* can be the name of a field or a cookie (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def is_field_pattern(text: str) -> bool:
    """Whether *text* is the name of a field, or the beginning of names followed by ``*``."""
    return is_token(text) and text.find("*") in (-1, len(text) - 1) and text != "*"


def matches_field(pattern: str, name: str) -> bool:
    """Whether the field *name* is meant by *pattern*; both in lower case."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def is_authority(text: str) -> bool:
    """Whether *text* is ``host`` or ``host:port`` as it stands in a ``Host`` field."""
    return _AUTHORITY.fullmatch(text) is not None and len(text) <= 255


def is_language(text: str) -> bool:
    """Whether *text* is a language tag (RFC 9110 §8.5.1)."""
    return _LANGUAGE.fullmatch(text) is not None


def is_visible(text: str) -> bool:
    """Whether *text* has characters, and only printable ones (which can be encoded)."""
    return bool(text) and text.isprintable()


def is_group(text: str) -> bool:
    """Whether *text* is a group: printable ASCII, braces only around a parameter's name."""
    rest = _PLACEHOLDER.sub("", text)
    return is_visible(text) and text.isascii() and not set(rest) & set("{}")


def placeholders(group: str) -> list[str]:
    """The names of the template's parameters that *group* uses."""
    return _PLACEHOLDER.findall(group)


def printable(
    allowed: str, most: int, forbidden: str = "", *, ascii_only: bool = False
) -> Check[str]:
    """A text of 1 to *most* printable characters (the only white space is U+0020)."""

    def check(value: object) -> str:
        if (
            not isinstance(value, str)
            or not 1 <= len(value) <= most
            or not value.isprintable()
            or set(value) & set(forbidden)
            or (ascii_only and not value.isascii())
        ):
            raise ValueError(allowed)
        return value

    return check


def secret(key: str, check: Check[T]) -> Check[T]:
    """What *check* allows, refused without a word of what was given; *key*: the setting."""

    def check_secret(value: object) -> T:
        if value == REDACTED or (isinstance(value, list | tuple) and REDACTED in value):
            text = "this is the mark that stands for a redacted one"
        else:
            try:
                return check(value)
            except ValueError as error:
                text = f"allowed is {error}"
        raise RefusalError([Problem(key, REDACTED, text)])

    return check_secret


def store(value: object) -> object:
    """A store's URL, or an object that is a store or an asynchronous Redis client."""
    if isinstance(value, str):
        return _store_url(value)
    if (
        not isinstance(value, type)
        and callable(getattr(value, "aclose", None))
        and any(callable(getattr(value, name, None)) for name in ("settle", "execute_command"))
    ):
        return value
    raise ValueError(
        f"a URL ({_schemes()}) or, by keyword, a store or an asynchronous Redis client"
    )


def _schemes() -> str:
    return ", ".join(f"{scheme}://" for scheme in STORE_SCHEMES)


def _store_url(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in STORE_SCHEMES:
        raise ValueError(f"a URL that begins with one of {_schemes()}")
    if scheme == "memory":
        if rest:
            raise ValueError("memory:// with nothing behind it")
        return url
    if not url.isprintable() or " " in url or "#" in url:
        raise ValueError("a URL whose special characters, also in a password, are percent-encoded")
    form = "unix:///path/to/redis.sock?db=0"
    if scheme != "unix":
        form = f"{scheme}://user:password@host:port/0, special characters percent-encoded"
    try:
        parts = urlsplit(url)
        well_formed = parts.port != 0 and parts.netloc.count("@") <= 1
    except ValueError:
        well_formed = False
    if not well_formed or not _path_fits(scheme, parts.path):
        raise ValueError(form + _wrong_part(scheme, redacted(url)))
    if parts.password == REDACTED:
        raise ValueError(f"{form}: this password is the mark that stands for a redacted one")
    return url


def _wrong_part(scheme: str, shown: str) -> str:
    """What is wrong with the port or the database in *shown*, a URL without its password."""
    _, at, rest = shown.rpartition("@")
    place = (rest if at else shown.partition("://")[2]).partition("?")[0]
    address, _, database = place.partition("/")
    # Without a host, what looks like a port may be a password.
    found = _ADDRESS.fullmatch(address)
    if scheme == "unix" or found is None:
        return ""
    port = found[1] or "1"
    if not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) <= MOST_PORT):
        return f"; {quoted(port)} is no port, which is a number from 1 to {MOST_PORT}"
    if not _path_fits(scheme, f"/{database}"):
        return f"; {quoted(database)} is no database, which is a number such as 0"
    return ""


def _path_fits(scheme: str, path: str) -> bool:
    if scheme == "unix":
        return path not in ("", "/")
    return path in ("", "/") or re.fullmatch(r"/[0-9]{1,5}", path) is not None
