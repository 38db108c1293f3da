"""A rule: what the operator says about the responses of one path template.

What must not be here: how a rule acts (``policy``), which paths it is for (``paths``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from asgi_cache.errors import ConfigurationError
from asgi_cache.settings import allowed, kinds
from asgi_cache.settings.paths import compile_template
from asgi_cache.settings.refusals import Problem, RefusalError, quoted, unknown


class Rule(BaseModel):
    """What holds for the responses of one path template. Durations are seconds.

    Raises :class:`~asgi_cache.ConfigurationError` for a field that is unknown or wrong.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    ttl: kinds.OptionalSeconds = None
    """Lifetime in seconds where the app says none; 0: usable only after validation or stale."""
    browser_ttl: kinds.OptionalSeconds = None
    """Lifetime in seconds that browsers are told; 0 is ``no-cache``; ``None``: as ``ttl``."""
    public: kinds.Switch = False
    """Whether the ``Cache-Control`` that the cache emits says ``public``."""
    stale_while_revalidate: kinds.OptionalSeconds = None
    """Seconds (RFC 5861 §3); ``None``: the setting of that name."""
    stale_if_error: kinds.OptionalSeconds = None
    """Seconds (RFC 5861 §4); ``None``: the setting of that name."""
    query: kinds.Parameters = None
    """The only query parameters that count; ``None``: all but those in ``ignore_query``."""
    ignore_query: kinds.ParameterPatterns = ()
    """Query parameters that do not count, as glob patterns; not together with ``query``."""
    vary: kinds.VaryNames = ()
    """Request fields on which the response varies, as if the app's ``Vary`` named them."""
    languages: kinds.Languages = ()
    """The languages that the app speaks: ``Accept-Language`` is folded to one of them."""
    groups: kinds.Groups = ()
    """Cache groups (RFC 9875); ``{name}`` is replaced by that parameter of the template."""
    statuses: kinds.Statuses = ()
    """Status codes that may be stored besides the usual ones."""
    override: kinds.Switch = False
    """Whether ``ttl`` replaces the lifetime that the app gave."""
    anonymous: kinds.Switch = True
    """Whether the app is asked without credentials; ``False``: requests with them bypass."""
    cookies: kinds.CookieNames = ()
    """Cookies that are part of the key, and the only ones that the app is shown."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            ttl: float | None = None,
            browser_ttl: float | None = None,
            public: bool = False,
            stale_while_revalidate: float | None = None,
            stale_if_error: float | None = None,
            query: list[str] | tuple[str, ...] | None = None,
            ignore_query: list[str] | tuple[str, ...] = (),
            vary: list[str] | tuple[str, ...] = (),
            languages: list[str] | tuple[str, ...] = (),
            groups: list[str] | tuple[str, ...] = (),
            statuses: list[int] | tuple[int, ...] = (),
            override: bool = False,
            anonymous: bool = True,
            cookies: list[str] | tuple[str, ...] = (),
        ) -> None: ...
    else:

        def __init__(self, /, **fields: object) -> None:
            names = list(type(self).model_fields)
            problems = [unknown(key, names) for key in fields if key not in names]
            try:
                super().__init__(**{key: fields[key] for key in fields if key in names})
            except ValidationError as error:
                problems += problems_of(error)
            if not problems and self.query is not None and self.ignore_query:
                text = "allowed is only one of query and ignore_query"
                problems.append(Problem("ignore_query", quoted(self.ignore_query), text))
            if problems:
                # Raised out here so that no context keeps pydantic's error, which quotes input.
                raise RefusalError(problems, prefix="Rule.")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values for the fields in *update*, which are checked."""
        return type(self)(**{**dict(self), **(update or {})})


def problems_of(error: ValidationError) -> list[Problem]:
    """What pydantic found wrong, in this package's words; nothing quotes a password."""
    problems: list[Problem] = []
    for one in error.errors(include_url=False):
        key = ".".join(map(str, one["loc"]))
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, RefusalError):
            problems += cause.problems
        elif isinstance(cause, ValueError):
            problems.append(Problem(key, quoted(one["input"]), f"allowed is {cause}"))
        else:  # pragma: no cover - every field is checked by this package first
            problems.append(Problem(key, quoted(one["input"]), one["msg"]))
    return problems


def rules_of(value: object) -> dict[str, Rule | Literal[False]]:
    """The setting ``paths``: seconds, ``False``, a table or a :class:`Rule` for each template."""
    if not isinstance(value, Mapping):
        raise ValueError("a table of path templates")
    rules: dict[str, Rule | Literal[False]] = {}
    problems: list[Problem] = []
    for template, given in value.items():
        key = f"paths[{_key_text(template)}]"
        try:
            parameters = compile_template(template).parameters
        except ConfigurationError as error:
            problems.append(Problem(key, None, str(error).removesuffix(".")))
            continue
        try:
            rule = _rule_of(given)
        except RefusalError as error:
            problems += [one._replace(key=f"{key}.{one.key}") for one in error.problems]
            continue
        except ValueError as error:
            problems.append(Problem(key, quoted(given), f"allowed is {error}"))
            continue
        rules[template] = rule
        if rule:
            problems += _missing_parameters(f"{key}.groups", rule, parameters)
    if problems:
        raise RefusalError(problems)
    return rules


def _key_text(template: object) -> str:
    if isinstance(template, str):
        return json.dumps(template, ensure_ascii=not template.isprintable())
    return quoted(template)


def _rule_of(given: object) -> Rule | Literal[False]:
    if given is False or isinstance(given, Rule):
        return given
    if isinstance(given, Mapping):
        return Rule(**{str(name): value for name, value in given.items()})
    try:
        ttl = kinds.seconds(given)
    except ValueError:
        ttl = 0
    if ttl > 0:
        return Rule(ttl=ttl)
    raise ValueError(
        f"a number of seconds above 0 and up to {allowed.LONGEST_SECONDS}, false (never cached), "
        "or a rule; { ttl = 0 } caches, but validates each time"
    )


def _missing_parameters(key: str, rule: Rule, parameters: frozenset[str]) -> list[Problem]:
    return [
        Problem(
            key,
            quoted(group),
            f"the template has no parameter {{{name}}}; allowed are "
            + (", ".join(f"{{{one}}}" for one in sorted(parameters)) or "groups without any"),
        )
        for group in rule.groups
        for name in allowed.placeholders(group)
        if name not in parameters
    ]
