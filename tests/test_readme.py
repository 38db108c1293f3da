"""README against the code: its tables name what there is, its snippets and commands work."""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import asgi_cache
from asgi_cache import Decision, Refusal, Rule, Settings
from asgi_cache.debugging import MOST_CHARACTERS
from asgi_cache.policy.ranges import MAX_RANGES
from asgi_cache.policy.validation import ERROR_STATUSES
from asgi_cache.revalidating import MOST_AT_ONCE, RETRY_SECONDS, USER_AGENT
from asgi_cache.settings import load
from benchmarks.readme import tables
from tests.conformance import table as conformance_table
from tests.conformance.serve import PROFILES
from tests.driver import drive
from tests.integration.snippets import SNIPPETS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")


def table(name: str) -> dict[str, list[str]]:
    """The rows of the table marked *name*, by the texts in their first cell."""
    found = re.search(rf"<!-- table: {name} -->\n((?:\|.*\n)+)", README)
    assert found is not None, name
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in found[1].splitlines()[2:]
    ]
    return {
        key: row[1:] for row in rows for key in re.findall(r"`([^`]+)`", row[0].removeprefix("|"))
    }


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def shown(value: object) -> set[str]:
    """How README may write a default."""
    if isinstance(value, tuple | list):
        one_by_one = ", ".join(f"`{member}`" for member in value)
        return {one_by_one, f"`{json.dumps(list(value))}`"}
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None:
        return {"`None`"}
    return {f"`{json.dumps(value)}`"}


def defaults(model: type[Settings | Rule]) -> Iterator[tuple[str, object]]:
    for name, field in model.model_fields.items():
        yield name, field.default


@pytest.mark.parametrize(("name", "model"), [("settings", Settings), ("rule", Rule)])
def test_the_tables_of_settings_name_every_one_with_its_default(
    name: str, model: type[Settings | Rule]
) -> None:
    rows = table(name)
    assert list(rows) == [field for field, _ in defaults(model)]
    for field, default in defaults(model):
        assert rows[field][0] in shown(default), field


def test_the_table_of_decisions_is_the_enumeration() -> None:
    rows = table("decisions")
    assert list(rows) == [decision.name for decision in Decision]
    for decision in Decision:
        text = decision.cache_status
        assert rows[decision.name][0] == ("none" if text is None else f"`{text.decode()}`")


def test_the_table_of_reasons_is_the_enumeration() -> None:
    assert sorted(table("refusals")) == sorted(refusal.label for refusal in Refusal)


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_the_commands_are_one_line_each_and_what_ci_runs(name: str) -> None:
    found = re.search(rf"<!-- command: {name} -->\n```bash\n(.+)\n```", README)
    assert found is not None
    assert found[1].startswith("python3 -m venv .venv && ")
    assert f"readme_command {name}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


async def test_the_first_snippet_caches_a_fastapi_app() -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), names)
    assert not (await drive(names["app"], "/products/7")).hit
    second = await drive(names["app"], "/products/7")
    assert second.hit
    assert json.loads(second.body) == {"id": 7}
    assert (await drive(names["app"], "/admin/x")).cache_status == ""


async def test_the_snippet_about_purging_purges(redis_url: str, namespace: str) -> None:
    snippet = blocks("python")[1]
    address = '"redis://localhost:6379/0"'
    assert address in snippet
    here = f"{redis_url!r}, namespace={namespace!r}"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    names: dict[str, Any] = {"asgi_cache": asgi_cache, "app": app}
    exec(compile(snippet.replace(address, here), "README.md", "exec"), names)
    options: dict[str, Any] = {"scheme": "https"}
    await drive(names["app"], "/products/1", **options)
    assert (await drive(names["app"], "/products/1", **options)).hit
    await names["sold_out"]()
    assert not (await drive(names["app"], "/products/1", **options)).hit
    await names["cache"].aclose()


async def test_the_handler_that_purges_does_so_and_survives_a_failure() -> None:
    (snippet,) = [block for block in blocks("python") if "from_scope(request.scope)" in block]
    prices = iter(range(9))

    async def shown(id: int) -> int:  # noqa: A002 - the template's name
        return next(prices)

    wrapped = "app = asgi_cache.wrap(app)\n"
    assert snippet.endswith(wrapped)
    names: dict[str, Any] = {}
    exec(compile(snippet.removesuffix(wrapped), "README.md", "exec"), names)
    names["app"].get("/products/{id}")(shown)
    app = asgi_cache.wrap(names["app"], paths={"/products/{id}": 60})
    await drive(app, "/products/7")
    assert (await drive(app, "/products/7")).body == b"0"
    answer = await drive(app, "/products/7/price", method="POST")
    assert (answer.status, answer.body) == (200, b'{"purged":true}')
    assert (await drive(app, "/products/7")).body == b"1"
    # Nobody listens on port 1: the purge by URL raises nothing, that of the group is told.
    async with contextlib.aclosing(asgi_cache.Cache(store="redis://127.0.0.1:1/0")) as cache:
        app = asgi_cache.wrap(names["app"], cache=cache)
        answer = await drive(app, "/products/7/price", method="POST")
        assert (answer.status, answer.body) == (200, b'{"purged":false}')


async def test_what_readme_says_of_head_and_range_within_the_window() -> None:
    lines = [(b"cache-control", b"max-age=0, stale-while-revalidate=60")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": b"page"})

    wrapped = asgi_cache.wrap(app)
    await drive(wrapped, "/")
    assert (await drive(wrapped, "/", method="HEAD")).hit
    assert (await drive(wrapped, "/", headers=[("Range", "bytes=0-1")])).body == b"pa"
    lines[:] = [(b"cache-control", b"max-age=0"), (b"etag", b'"1"')]
    await drive(wrapped, "/beyond")
    for reason, options in (
        ("head", {"method": "HEAD"}),
        ("range", {"headers": [("Range", "bytes=0-1")]}),
    ):
        status = (await drive(wrapped, "/beyond", **options)).cache_status
        assert status.endswith(f"; detail={reason}")


async def test_a_rule_with_groups_says_no_cache_alone() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    rule = {"ttl": 60, "groups": ["g"], "stale_while_revalidate": 30, "stale_if_error": 30}
    wrapped = asgi_cache.wrap(app, paths={"/g": rule, "/p": {**rule, "groups": []}})
    assert (await drive(wrapped, "/g")).field("cache-control") == "no-cache"
    told = "max-age=60, stale-while-revalidate=30, stale-if-error=30"
    assert (await drive(wrapped, "/p")).field("cache-control") == told


def test_the_toml_file_is_one(tmp_path: Path) -> None:
    text = blocks("toml")[0]
    file = tmp_path / "asgi-cache.toml"
    file.write_text(text, encoding="utf-8")
    settings, sources = load(file)
    assert settings.store == "redis://localhost:6379/0"
    assert list(settings.paths) == [
        "/products/{id}",
        "/search",
        "/static/{rest:path}",
        "/admin/{rest:path}",
    ]
    assert sources["paths"] == str(file)


def test_the_rfc_profile_is_the_conformance_suites(tmp_path: Path) -> None:
    found = re.search(r"<!-- profile: rfc -->\n```toml\n(.*?)```", README, re.DOTALL)
    assert found is not None
    file = tmp_path / "asgi-cache.toml"
    file.write_text(found[1], encoding="utf-8")
    profile = PROFILES["rfc"]
    assert profile is not None
    assert load(file)[0] == Settings(**profile)
    assert list(tomllib.loads(found[1])) == list(profile)
    explained = README[found.end() :].partition("\n## ")[0]
    for name in ("CDN-Cache-Control", *list(profile)[1:]):
        assert re.search(rf"^- `{name}\b", explained, re.MULTILINE), name


def test_numbers_in_the_text_are_the_codes() -> None:
    text = " ".join(README.split())
    assert f"at most {MOST_AT_ONCE} at once for a middleware" in text
    assert f"is tried again after {RETRY_SECONDS:g} s" in text
    assert f"`User-Agent: {USER_AGENT.decode()}`" in text
    assert f"up to {MAX_RANGES} parts" in text
    assert f"a text over {MOST_CHARACTERS:,} characters is cut" in text
    *first, last = sorted(ERROR_STATUSES)
    assert f"answers {', '.join(map(str, first))} or {last}" in text


def test_what_of_the_conformance_suite_passes_is_what_the_lists_leave() -> None:
    text = " ".join(README.split())
    left = []
    for name in ("not_passed", "not_passed_rfc"):
        file = ROOT / "tests" / "conformance" / f"{name}.toml"
        assert f"`tests/conformance/{file.name}`" in text
        lists = tomllib.loads(file.read_text(encoding="utf-8"))
        left += [165 - len(lists["required"]), 95 - len(lists["optimal"])]
    assert (
        f"With the defaults {left[0]} of 165 required and {left[1]} of 95 optimal tests pass, "
        f"with the profile `rfc` {left[2]} and {left[3]}," in text
    )


def test_each_framework_has_its_tested_snippet() -> None:
    for framework, snippet in SNIPPETS.items():
        assert f"```python\n{snippet.rstrip()}\n```" in README, framework


@pytest.mark.parametrize("name", sorted(tables()))
def test_the_measured_tables_are_the_results(name: str) -> None:
    assert f"<!-- table: {name} -->\n{tables()[name]}" in README


def test_the_table_of_long_runs_names_every_variable_with_its_default() -> None:
    found: dict[str, str] = {}
    for folder in ("security", "lifecycle", "property"):
        for path in (ROOT / "tests" / folder).glob("*.py"):
            read = re.findall(r'environ\.get\("([A-Z_]+)"(?:, "(\d+)")?\)', path.read_text("utf-8"))
            found |= {name: default or "none" for name, default in read}
    shown = {name: cells[0] for name, cells in table("long-runs").items()}
    assert shown == {name: text for name, text in found.items() if not name.endswith("_SEED")}


def test_links_within_the_repository_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_the_table_of_conformance_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert conformance_table.main([]) == 0
    printed = capsys.readouterr().out.partition("\n\n")[0]
    shown = README.partition("<!-- table: conformance -->\n")[2].partition("\n\n")[0]
    assert shown == printed
