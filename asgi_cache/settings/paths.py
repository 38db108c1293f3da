"""Path templates: which rule a path has, and which paths get none because they are ambiguous.

A path is *odd* where two programs may read it as two paths: dot segments, ``//``, ``;``, ``\\``,
control characters, an encoded ``/``, something encoded twice. An odd path is never granted a TTL;
it is ``false`` if any reading of it is. What must not be here: what a rule means (``rules``).
"""

from __future__ import annotations

import re
from math import factorial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import unquote

from starlette.convertors import CONVERTOR_TYPES, Convertor, PathConvertor, StringConvertor
from starlette.routing import PARAM_REGEX, compile_path

from asgi_cache.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgi_cache.settings.rules import Rule

MOST_REMEMBERED: Final = 4096
"""Paths that a matcher remembers before it forgets them all."""
LONGEST_REMEMBERED: Final = 1024
"""Raw plus decoded length; what is longer is matched anew: bounds what a stranger makes it hold."""
_MOST_STEPS: Final = 1_000_000
_LONGEST_ODD_PATH: Final = 1024
_MOST_READINGS: Final = 64

_ODD: Final = re.compile(r"[;\\\x00-\x1f\x7f]|//|/\.\.?(?:/|\Z)|%[0-9A-Fa-f]{2}|\A(?!/)")
_ENCODED_SLASH: Final = re.compile(rb"%2f", re.IGNORECASE)
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]+")
_PATH_PARAMETER: Final = re.compile(r";[^/]*")
_SLASHES: Final = re.compile(r"/{2,}")


class Match(NamedTuple):
    """The template that a path matches first."""

    template: str
    rule: Rule | None
    """``None``: never cached (``paths`` says ``false``)."""
    params: Mapping[str, str]
    """The template's parameters, spelled as their convertors spell them."""


UNSEEN: Final = Match("", None, MappingProxyType({}))
"""The default to give to ``PathMatcher.remembered.get``: compare by identity."""


class Template(NamedTuple):
    """A path template, compiled."""

    text: str
    pattern: re.Pattern[str]
    parameters: frozenset[str]
    spelled: tuple[tuple[str, Convertor[Any]], ...]
    """The parameters of which one value may be spelled in several ways, with their convertors."""
    longest_path: int
    """Characters; on a longer path the pattern might take too long, so it is not tried."""


def compile_template(template: object) -> Template:
    """Compile a template in Starlette's syntax, or raise :class:`ConfigurationError`."""
    if not isinstance(template, str) or not template.startswith("/"):
        raise _refusal(template, "a path that begins with '/'")
    names: list[str] = []
    for name, convertor in PARAM_REGEX.findall(template):
        if name in names:
            raise _refusal(template, f"each parameter once, and {{{name}}} occurs twice")
        if (convertor.removeprefix(":") or "str") not in CONVERTOR_TYPES:
            known = ", ".join(CONVERTOR_TYPES)
            raise _refusal(template, f"one of the convertors {known}, not {convertor[1:]!r}")
        names.append(name)
    literal = PARAM_REGEX.sub("x", template)
    if set(literal) & set("{}"):
        raise _refusal(template, "braces only as in {name} or {name:int}")
    if "?" in literal:
        raise _refusal(
            template, "a path alone; parameters of the query belong in the rule's 'query'"
        )
    if is_odd(literal, b""):
        raise _refusal(
            template,
            "a path as it is after decoding, without dot segments, '//', ';', '\\', "
            "control characters and percent-encoding",
        )
    pattern, _, convertors = compile_path(template)
    spelled = tuple(
        (name, convertor)
        for name, convertor in convertors.items()
        if type(convertor) not in (StringConvertor, PathConvertor)
    )
    return Template(template, pattern, frozenset(names), spelled, _longest_path(template))


def _canonical(convertor: Convertor[Any], text: str) -> str:
    """*text* as the convertor spells the value: the app takes 01 and 1 for the same."""
    try:
        return str(convertor.to_string(convertor.convert(text)))
    except Exception:  # a convertor of the user's own
        return text


def _refusal(template: object, allowed: str) -> ConfigurationError:
    shown = repr(template) if isinstance(template, str) else f"of type {type(template).__name__}"
    return ConfigurationError(f"the path template {shown}: allowed is {allowed}.")


def _longest_path(template: str) -> int:
    """How long a path may be for the pattern to need at most about ``_MOST_STEPS`` steps.

    Parameters that compete for the same text (two in one segment, two that cross segments) make a
    backtracking matcher try every division of it among them.
    """
    crossing = 0
    most_in_segment = 1
    for segment in template.split("/"):
        convertors = [convertor for _, convertor in PARAM_REGEX.findall(segment)]
        crossing += sum(one not in ("", ":str", ":int", ":float", ":uuid") for one in convertors)
        most_in_segment = max(most_in_segment, len(convertors))
    competing = max(1, crossing) + most_in_segment - 1
    return int((_MOST_STEPS * factorial(competing)) ** (1 / competing))


def is_odd(path: str, raw_path: bytes) -> bool:
    """Whether two programs may disagree about which path this is."""
    if _ODD.search(path) is not None:
        return True
    return b"%" in raw_path and _ENCODED_SLASH.search(raw_path) is not None


def _resolve_dots(path: str) -> str:
    """RFC 3986 §5.2.4 for what begins with a slash; an empty segment is a segment."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


_OTHER_READINGS: Final[tuple[Callable[[str], str], ...]] = (
    unquote,
    unquote,
    lambda path: _CONTROLS.sub("", path),
    lambda path: _CONTROLS.split(path, maxsplit=1)[0],
    lambda path: path.replace("\\", "/"),
    lambda path: _PATH_PARAMETER.sub("", path),
    lambda path: path.partition(";")[0],
    lambda path: path if path.startswith("/") else f"/{path}",
    lambda path: _SLASHES.sub("/", path),
    _resolve_dots,
    lambda path: _SLASHES.sub("/", path),
    lambda path: path.rstrip("/") if path.endswith("/") else f"{path}/",
)
"""What servers, frameworks and file systems do to paths, in the order in which they do it."""


def _readings(path: str) -> set[str] | None:
    """Every path that an odd path may be taken for, itself too; ``None``: too many to tell."""
    if len(path) > _LONGEST_ODD_PATH:
        return None
    readings = {path}
    for change in _OTHER_READINGS:
        readings |= {change(reading) for reading in readings}
        if len(readings) > _MOST_READINGS:
            return None
    return readings


class PathMatcher:
    """The rule of a path: of the templates in ``paths``, the first that matches."""

    remembered: dict[tuple[bytes, str], Match | None]
    """What :meth:`match` answered, by ``(raw_path, path)``: bounded, and made to be read directly.

    ``matcher.remembered.get((raw_path, path), UNSEEN)`` costs no Python call; where that gives
    ``UNSEEN``, ask :meth:`match`. Both paths are needed: raw paths differ that decode to the same
    path, and one raw path is several paths where ``root_path`` varies.
    """

    def __init__(self, paths: Mapping[str, Rule | Literal[False]]) -> None:
        self.remembered = {}
        self._templates = tuple(
            (compile_template(template), rule or None) for template, rule in paths.items()
        )
        self._never = tuple(template for template, rule in self._templates if rule is None)

    def match(self, path: str, raw_path: bytes) -> Match | None:
        """The match of the decoded *path* (without root_path), which came as *raw_path*."""
        key = (raw_path, path)
        found = self.remembered.get(key, UNSEEN)
        if found is not UNSEEN:
            return found
        found = self._match_odd(path) if is_odd(path, raw_path) else self._match_plain(path)
        if len(path) + len(raw_path) <= LONGEST_REMEMBERED:
            if len(self.remembered) >= MOST_REMEMBERED:
                self.remembered.clear()
            self.remembered[key] = found
        return found

    def _match_plain(self, path: str) -> Match | None:
        for template, rule in self._templates:
            if len(path) > template.longest_path:
                # Too long to tell: never past a rule that may have been the first match.
                return Match(template.text, None, {}) if rule is None else None
            # fullmatch, as "$" would let a line feed pass at the end.
            found = template.pattern.fullmatch(path)
            if found is not None:
                params = {name: found[name] for name in template.parameters}
                for name, convertor in template.spelled:
                    params[name] = _canonical(convertor, params[name])
                return Match(template.text, rule, params)
        return None

    def _match_odd(self, path: str) -> Match | None:
        if not self._never:
            return None
        readings = _readings(path)
        for template in self._never:
            if readings is None or any(
                len(reading) > template.longest_path or template.pattern.fullmatch(reading)
                for reading in readings
            ):
                return Match(template.text, None, {})
        return None
