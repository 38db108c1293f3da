from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from asgi_cache import wrap
from asgi_cache.demo import shop, tables
from asgi_cache.demo import story as demo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send

ROOT = Path(__file__).parent.parent

STORY = [
    ("GET /products/7", "200", "uri-miss", "stored"),
    ("GET /products/7", "200", "hit", "ttl"),
    ("GET /products/7", "200", "hit", "ttl"),
    ("GET /products/7", "304", "hit", "ttl"),
    ("HEAD /products/7", "200", "hit", "ttl"),
    ("GET /search?q=oak", "200", "uri-miss", "stored"),
    ("GET /search?q=oak&utm_source=mail", "200", "hit", "ttl"),
    ("GET /me", "200", "uri-miss", "private"),
    ("GET /me", "200", "uri-miss", "private"),
    ("GET /about", "200", "uri-miss", "stored"),
    ("GET /about", "200", "hit", "ttl"),
    ("POST /products/7/price", "303", "passed on", ""),
    ("GET /products/7", "200", "uri-miss", "stored"),
    ("GET /search?q=oak", "200", "uri-miss", "stored"),
    ("GET /products/7", "200", "hit", "ttl"),
]
ROW = re.compile(
    r"^ ((?:GET|HEAD|POST) /\S+) +(\d{3}) +(passed on|[a-z-]+) +([a-z]*)\S*"
    r"(?: +\d+ s)? +[\d.]+ ms *$",
    re.MULTILINE,
)


def environment(directory: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "ASGI_CACHE" not in name}
    return {**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory), "COLUMNS": "80"}


def demonstrated(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "asgi_cache", "demo", "--once", *arguments],
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_the_story_is_what_happens(kind: str, tmp_path: Path, redis_url: str) -> None:
    arguments = ["--store", redis_url] if kind == "redis" else []
    done = demonstrated(tmp_path, *arguments, "--port", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"store {redis_url if kind == 'redis' else 'memory://'}" in done.stdout.replace(
        "\n", " "
    )
    assert ROW.findall(done.stdout) == STORY
    assert "30 of the 30 cached ones were hits." in done.stdout
    ratios = [int(one) for one in re.findall(r" ms +(\d+)x *$", done.stdout, re.MULTILINE)]
    assert len(ratios) == 2
    assert min(ratios) > 1
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert list(tmp_path.iterdir()) == []


def test_it_keeps_serving_until_it_is_interrupted(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from asgi_cache.cli import commands, options as cli\n"
                f"commands.DEFAULT_PORT = {other.getsockname()[1]}\n"
                "sys.exit(cli.main(['demo']))",
            ],
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "Ctrl-C closes it." in line:
                    break
            assert f"Port {other.getsockname()[1]} is in use" in said
            found = re.search(r"open: (http://\S+)/ .*cache: (http://\S+)/\)", said)
            assert found, said
            cached, uncached = found.groups()
            with httpx.Client(timeout=30, trust_env=False) as client:
                one = client.get(f"{cached}/products/7")
                other_one = client.get(f"{uncached}/products/7")
                process.send_signal(signal.SIGINT)
                # Not communicate(): it would leave behind what readline has read ahead.
                out = process.stdout.read()
                assert process.stderr is not None
                error = process.stderr.read()
                process.wait(timeout=30)
        finally:
            process.kill()
    assert one.headers["cache-status"].startswith("asgi-cache; hit")
    assert "cache-status" not in other_one.headers
    assert "9.99 EUR" in one.text
    assert "9.99 EUR" in other_one.text
    assert f"curl -i {cached}/products/7" in out
    assert (process.returncode, error) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_in_its_story_it_ends_well(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "asgi_cache", "demo", "--port", "0"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.read(12) == "A small shop"
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "decision" not in out
    assert (process.returncode, error) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cache_status", "told"),
    [
        (None, ("passed on", "")),
        ("asgi-cache; hit; ttl=59", ("hit", "ttl=59")),
        ("asgi-cache; fwd=uri-miss; stored", ("uri-miss", "stored")),
        ("asgi-cache; fwd=bypass; detail=private", ("bypass", "private")),
        ("asgi-cache; fwd=stale", ("stale", "not stored")),
        ("origin; hit; ttl=1, asgi-cache; fwd=vary-miss; stored", ("vary-miss", "stored")),
    ],
)
def test_told_by_cache_status(cache_status: str | None, told: tuple[str, str]) -> None:
    assert demo.told_by(cache_status) == told


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0000499, "0.05 ms"), (0.0042, "4.20 ms"), (0.05551, "55.5 ms")]
)
def test_in_milliseconds(seconds: float, text: str) -> None:
    assert tables.in_milliseconds(seconds) == text


def test_its_settings_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_CACHE_ENABLED", "false")
    monkeypatch.setenv("ASGI_CACHE_STORE", "redis://elsewhere/0")
    monkeypatch.setenv("ASGI_CACHE_MAX_TTL", "1")
    settings = demo.settings_of("memory://")
    assert settings.enabled
    assert settings.store == "memory://"
    assert settings.max_ttl == 31 * 86400
    assert settings.namespace == "asgi-cache-demo"


async def test_by_port() -> None:
    called = []

    def named(name: str) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            called.append(name)

        return app

    app = demo.by_port({81: named("second")}, named("first"))
    for scope in (
        {"type": "http", "server": ("127.0.0.1", 80)},
        {"type": "http", "server": ("127.0.0.1", 81)},
        {"type": "http", "server": None},
        {"type": "lifespan"},
    ):
        await app(scope, None, None)  # type: ignore[arg-type] # neither is used
    assert called == ["first", "second", "first", "first"]


# ---------------------------------------------------------------------- the shop


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """The shop behind the cache, open."""
    app = shop.make_shop()
    transport = httpx.ASGITransport(wrap(app, demo.settings_of("memory://")))
    async with (
        shop.with_database(app),
        httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client,
    ):
        yield client


async def test_every_link_of_the_shop_leads_somewhere(client: httpx.AsyncClient) -> None:
    front = await client.get("/")
    found = re.findall(r"href='?(/[^' >]*)", front.text)
    assert len(found) == 8
    for link in found:
        answer = await client.get(link.replace("&amp;", "&"))
        assert answer.status_code in (200, 303), link


async def test_a_changed_price_is_seen_at_once(client: httpx.AsyncClient) -> None:
    old, found = await client.get("/products/7"), await client.get("/search?q=No. 7")
    changed = await client.post("/products/7/price", content="price=12.5")
    assert (changed.status_code, changed.headers["location"]) == (303, "/products/7")
    new = await client.get("/products/7")
    assert "12.50 EUR" not in old.text
    assert "12.50 EUR" in new.text
    assert (await client.get("/search?q=No. 7")).headers["cache-status"].endswith("stored")
    assert found.headers["cache-status"].endswith("stored")


@pytest.mark.parametrize(
    "price", ["", "price=", "price=cheap", "price=-1", "price=1000000000", "x"]
)
async def test_a_price_that_is_none_is_refused(client: httpx.AsyncClient, price: str) -> None:
    assert (await client.post("/products/7/price", content=price)).status_code == 400


@pytest.mark.parametrize("key", ["0", "20001", "9" * 30])
async def test_a_product_that_is_none_is_not_found(client: httpx.AsyncClient, key: str) -> None:
    assert (await client.get(f"/products/{key}")).status_code == 404


@pytest.mark.parametrize("number", ["0", "x", "9" * 30, "²"])
async def test_an_odd_page_of_a_search_is_the_first(client: httpx.AsyncClient, number: str) -> None:
    first, odd = await client.get("/search?q=oak"), await client.get(f"/search?q=oak&page={number}")
    assert (
        re.findall(r"<li>.*", first.text)[0].partition("<footer>")[0]
        == (re.findall(r"<li>.*", odd.text)[0].partition("<footer>")[0])
    )
    second = await client.get("/search?q=oak&page=2")
    assert second.text.partition("<footer>")[0] != first.text.partition("<footer>")[0]


async def test_what_is_asked_for_is_escaped(client: httpx.AsyncClient) -> None:
    answer = await client.get("/search", params={"q": "<script>"})
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_each_user_has_a_page_of_their_own(client: httpx.AsyncClient) -> None:
    assert "Log in first" in (await client.get("/me")).text
    for name in ("ann", "bob"):
        welcome = await client.get(f"/login?name={name}")
        assert welcome.headers["location"] == "/me"
        own = await client.get("/me")
        assert f"Orders of {name}" in own.text
        assert own.headers["cache-status"] == "asgi-cache; fwd=uri-miss; detail=private"
    assert "set-cookie" not in (await client.get("/login?name=eve")).headers
