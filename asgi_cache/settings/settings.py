"""The configuration: every setting with its unit, checked when it is constructed.

Keyword > ``ASGI_CACHE_*`` environment > the TOML file that ``ASGI_CACHE_CONFIG`` names; nothing is
read from the current directory. What must not be here: what follows from settings (whoever uses
them derives it once), how sources are read (``sources``), what values may be (``allowed``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, ValidationError, field_serializer
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from asgi_cache.errors import ConfigurationError
from asgi_cache.fields import structured
from asgi_cache.settings import allowed, files, kinds, sources
from asgi_cache.settings.plan import Plan
from asgi_cache.settings.refusals import REDACTED, Problem, quoted, redacted
from asgi_cache.settings.rules import Rule, problems_of, rules_of
from asgi_cache.settings.sources import FromText, Given, Resolved

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from asgi_cache.model import RequestHead, ResponseHead

    KeyFunction: TypeAlias = Callable[[RequestHead], str | bytes]
    RuleFunction: TypeAlias = Callable[[RequestHead, ResponseHead], Rule | None]
else:
    KeyFunction = RuleFunction = Callable[..., Any]

__all__ = ["Rule", "Settings"]


def _callable(value: object) -> object:
    if value is not None and (not callable(value) or isinstance(value, type)):
        raise ValueError("a function, or None")
    return value


class Settings(BaseSettings):
    """All settings. Durations are seconds (``float``), sizes bytes (``int``).

    Raises :class:`~asgi_cache.ConfigurationError`, one sentence for each name or value that is
    wrong, wherever it comes from. Passwords in a store's URL, the debug token and the secrets are
    hidden where settings are shown.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    enabled: kinds.Switch = True
    """The kill switch: ``False`` and the app is called as if there were no cache."""
    store: kinds.StoreChoice = "memory://"
    """URL of the store; by keyword also a store or an asynchronous Redis client."""
    namespace: kinds.Namespace = "asgi-cache"
    """Prefix of every key. Put the release in it when pages name assets of a release."""
    paths: Annotated[
        Mapping[str, Rule | Literal[False]], BeforeValidator(rules_of), FromText(sources.read_table)
    ] = {}
    """Path template -> seconds, ``False`` (never cached) or a rule; the first match wins."""
    default_ttl: kinds.OptionalSeconds = None
    """Lifetime in seconds where neither the app nor a rule says one."""
    max_ttl: kinds.SecondsAboveZero = 31 * 86400.0
    """Cap in seconds on any lifetime."""
    keep: kinds.Seconds = 3600.0
    """Seconds that a stale response with a validator is kept for validation."""
    ttl_jitter: kinds.ShareBelowOne = 0.0
    """Share (0 to below 1) by which a rule's or the default TTL is shortened at random."""
    heuristic_fraction: kinds.Share = 0.0
    """Share (0 to 1) of the time since ``Last-Modified`` (RFC 9111 §4.2.2), at most a day."""
    stale_while_revalidate: kinds.Seconds = 0.0
    """Seconds (RFC 5861 §3) where neither the app nor a rule says and nothing forbids it."""
    stale_if_error: kinds.Seconds = 0.0
    """Seconds (RFC 5861 §4) where neither the app nor a rule says and nothing forbids it."""
    targeted_fields: kinds.FieldNames = ("ASGI-Cache-Control",)
    """Target list (RFC 9213 §2.2): response fields, the first present one decides."""
    honor_request_directives: kinds.Switch = False
    """Whether ``no-cache``, ``max-age`` and the like in requests count (RFC 9111 §5.2.1)."""
    authorization_must_revalidate: kinds.Switch = False
    """Whether ``must-revalidate`` alone permits storing for ``Authorization`` (RFC 9111 §3.5)."""
    credential_fields: kinds.FieldPatterns = (
        "Cookie",
        "Authorization",
        "Proxy-Authorization",
        "X-API-Key",
        "Api-Key",
        "X-Auth-Token",
        "X-Remote-User",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "Cf-Access-Jwt-Assertion",
        "X-Amzn-Oidc-*",
        "Cf-Access-Authenticated-*",
        "Remote-User",
        "Tailscale-User-*",
        "X-Access-Token",
        "X-Auth-Request-*",
        "X-Authenticated-User",
        "X-Forwarded-Access-Token",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Preferred-Username",
        "X-Goog-Authenticated-*",
        "X-Ms-Client-*",
        "X-Ssl-Client-*",
        "X-Webauth-User",
    )
    """Request fields that say who asks; a last ``*`` stands for any ending."""
    cookies: kinds.CookiePolicy = "explicit"
    """``explicit``: requests with cookies share only what the app says is shared; or ``ignore``."""
    key_fields: kinds.FieldNames = (
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "X-Host",
        "X-Original-Host",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "Front-End-Https",
        "Forwarded",
    )
    """Request fields that are part of the key when present."""
    key: Annotated[KeyFunction | None, BeforeValidator(_callable)] = None
    """By keyword only: a text that the key of this (folded) request has in addition."""
    rule: Annotated[RuleFunction | None, BeforeValidator(_callable)] = None
    """By keyword only: the rule for this response, or ``None``; called at admission."""
    authorities: kinds.Authorities = ()
    """Hosts served, in lower case; requests for others bypass. Empty: all."""
    unstored_fields: kinds.FieldNames = ("X-Response-Time", "Server-Timing", "X-Request-ID")
    """Response fields that belong to one exchange and are not stored."""
    max_body_bytes: kinds.BytesAboveZero = 1024 * 1024
    """Bytes; a larger response streams through and is not stored."""
    fill_bytes: kinds.BytesAboveZero = 64 * 1024 * 1024
    """Bytes of all fills in flight together; what is beyond is not stored."""
    near_bytes: kinds.Bytes = 64 * 1024 * 1024
    """Bytes that the memory store or the near tier may hold; 0: no near tier."""
    compress_bytes: kinds.Bytes = 64 * 1024
    """Bytes; a longer body, over 64 KiB, lies in Redis compressed where that helps; 0: none."""
    store_timeout: kinds.SecondsAboveZero = 0.1
    """Seconds that one operation of the store may take."""
    request_store_timeout: kinds.SecondsAboveZero = 0.15
    """Seconds that one request may spend on the store in total."""
    collapse_timeout: kinds.Seconds = 5.0
    """Seconds that a request waits for another one's fill of its key; 0: none waits."""
    max_followers: kinds.Count = 1000
    """How many wait for one fill; what is beyond calls the app at once."""
    etag: kinds.Switch = True
    """Whether a response without a validator gets a weak ``ETag``."""
    cache_status: kinds.Switch = True
    """Whether ``Cache-Status`` (RFC 9211) is emitted."""
    name: kinds.CacheName = "asgi-cache"
    """How this cache calls itself in ``Cache-Status``."""
    debug_token: kinds.DebugToken = None
    """Requests with ``ASGI-Cache-Debug: <token>`` are told their key there; ``None``: none are."""
    response_time: kinds.TimeUnit = "ms"
    """Unit of ``X-Response-Time``: ``ms`` (``1.234ms``), ``s`` (``0.0012s``); ``False``: none."""
    secret: kinds.Secrets = ()
    """Keys of the seals (HMAC) on records in Redis: the first signs, all verify; none: no seals."""

    def __init__(self, /, *, _resolved: Resolved | None = None, **overrides: Any) -> None:
        given, problems = _resolved or _resolve(type(self).model_fields, overrides)
        values: dict[str, Any] = {name: one.value for name, one in given.items()}
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong = problems_of(error)
        else:
            wrong = _contradictions(self)
        problems = [*problems, *(_with_source(one, given) for one in wrong)]
        if problems:
            # Raised out here so that no context keeps pydantic's error, which quotes input.
            raise ConfigurationError("\n".join(one.sentence() for one in problems))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what ``__init__`` resolved: pydantic's sources would merge ``paths`` deeply."""
        return (init_settings,)

    @cached_property
    def plan(self) -> Plan:
        """What follows from these settings, derived once."""
        return Plan(self, structured.serialize_token_or_string(self.name))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values for the settings in *update*, which are checked."""
        return type(self)(**{**self._values(), **(update or {})})

    def _values(self) -> dict[str, Any]:
        # Not dict(self), which has the cached properties too.
        return {name: getattr(self, name) for name in type(self).model_fields}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return self.shown().items()

    @field_serializer("store")
    def _store_shown(self, store: object) -> str:
        return redacted(store) if isinstance(store, str) else quoted(store)

    @field_serializer("debug_token", when_used="unless-none")
    def _token_shown(self, token: str) -> str:
        return REDACTED

    @field_serializer("secret")
    def _secrets_shown(self, secrets: tuple[str, ...]) -> tuple[str, ...]:
        return (REDACTED,) * len(secrets)

    @field_serializer("key", "rule", when_used="json-unless-none")
    def _function_shown(self, function: Callable[..., object]) -> str:
        return _name_of(function)

    def shown(self) -> dict[str, object]:
        """Every setting as it may be printed: secrets hidden, functions and stores by name."""
        rows = self._values()
        rows["store"] = self._store_shown(self.store)
        rows["debug_token"] = self.debug_token and REDACTED
        rows["secret"] = self._secrets_shown(self.secret)
        rows["paths"] = {
            template: rule and rule.model_dump(exclude_defaults=True)
            for template, rule in self.paths.items()
        }
        for name in ("key", "rule"):
            rows[name] = rows[name] and _name_of(rows[name])
        return rows


def _resolve(fields: Mapping[str, FieldInfo], overrides: Mapping[str, object]) -> Resolved:
    file = files.named_file(os.environ, fields)
    return sources.resolve(sources.readers_of(fields), overrides, os.environ, file)


def _with_source(problem: Problem, given: Mapping[str, Given]) -> Problem:
    name = re.split(r"[.\[]", problem.key, maxsplit=1)[0]
    source = given[name].source if name in given else sources.KEYWORD
    return problem if source == sources.KEYWORD else problem._replace(source=source)


def _contradictions(settings: Settings) -> list[Problem]:
    """What is wrong with settings that are right each by itself."""
    problems = []
    if settings.store == "memory://" and not settings.near_bytes:
        text = "allowed with store = 'memory://' is a whole number of bytes above 0"
        problems.append(Problem("near_bytes", "0", text))
    most = settings.request_store_timeout
    if settings.store_timeout > most:
        text = f"allowed is at most request_store_timeout, which is {most:g}"
        problems.append(Problem("store_timeout", f"{settings.store_timeout:g}", text))
    credentials = [name.lower() for name in settings.credential_fields]
    for template, rule in settings.paths.items():
        for name in rule.vary if rule else ():
            if any(allowed.matches_field(pattern, name.lower()) for pattern in credentials):
                text = "allowed are fields that are not in credential_fields"
                problems.append(Problem(f'paths["{template}"].vary', quoted(name), text))
    return problems


def _name_of(function: object) -> str:
    kind = type(function)
    module = getattr(function, "__module__", kind.__module__)
    return f"{module}.{getattr(function, '__qualname__', kind.__qualname__)}"
