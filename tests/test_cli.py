from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import httpx
import pytest
from redis import Redis
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import asgi_cache
from asgi_cache.cli import commands, serving
from asgi_cache.cli import options as cli
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request

ROOT = Path(__file__).parent.parent
SHOP = """
import asgi_cache
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def path(request):
    return PlainTextResponse(request.url.path)

app = Starlette(routes=[Route("/{rest:path}", path)])
wrapped = asgi_cache.wrap(app)
number = 3

class Inside:
    app = app

def make_app():
    return app

def fail():
    raise RuntimeError("no database\\nand more")

def make_number():
    return 3
"""


class Outcome(NamedTuple):
    code: object
    out: str
    error: str


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, an environment without settings, and no trace of imports."""
    for variable in list(os.environ):
        if variable.upper().startswith("ASGI_CACHE_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command line, in this process."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code: object
        try:
            code = cli.main(arguments)
        except SystemExit as exit_:
            code = exit_.code
        return Outcome(code, *capsys.readouterr())

    return call


def refused(outcome: Outcome) -> str:
    """The one line that a refusal is."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.error.startswith("asgi-cache")
    assert outcome.error.count("\n") == 1
    return outcome.error


def arguments_of(*arguments: str, missing: tuple[str, ...] = ()) -> list[str]:
    """A Python that runs the command line, as if *missing* were not installed."""
    if not missing:
        return [sys.executable, "-m", "asgi_cache", *arguments]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
        "from asgi_cache.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", program, *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def finished(*arguments: str, missing: tuple[str, ...] = ()) -> Outcome:
    """The command line in a process of its own, to its end."""
    one = subprocess.run(
        arguments_of(*arguments, missing=missing),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Outcome(one.returncode, one.stdout, one.stderr)


@pytest.mark.parametrize("command", [("purge", "--all"), ("demo", "--once"), ("check",)])
def test_a_store_that_does_not_answer_is_said_once(command: tuple[str, ...]) -> None:
    """The library's log has nothing to add."""
    one = finished(*command, "--store", "redis://127.0.0.1:1/0")
    assert (one.code, one.out) == (2, "")
    assert len(one.error.splitlines()) == 1
    assert "ConnectionError" in one.error


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``run`` with *arguments* in a process of its own, and its URL."""
    with subprocess.Popen(
        arguments_of("run", *arguments, "--port", "0"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+(?=/ )", line)
            assert found, line or (process.stderr and process.stderr.read())
            yield process, found[0]
        finally:
            process.kill()


@pytest.fixture
def shop(directory: Path) -> None:
    (directory / "shop.py").write_text(SHOP)


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize("command", ["demo", "run", "check", "purge"])
def test_help_shows_each_command(command: str, call: Callable[..., Outcome]) -> None:
    assert re.search(rf"^ +{command} +\w", call("--help").out, re.MULTILINE)
    code, out, error = call(command, "--help")
    assert (code, error) == (0, "")
    assert out.startswith(f"usage: asgi-cache {command}")


def test_version(call: Callable[..., Outcome]) -> None:
    assert call("--version") == (0, f"asgi-cache {asgi_cache.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "required: COMMAND"),
        (("serve",), "invalid choice: 'serve'"),
        (("run",), "required: module:app"),
        (("run", "shop:app", "--port", "65536"), "'65536' is not a port from 0 to 65535"),
        (("run", "shop:app", "--port", "-1"), "--port"),
        (("run", "shop:app", "--port", "http"), "'http' is not a port"),
        (("purge",), "URL --group --all is required"),
        (("purge", "http://shop.example/", "--all"), "not allowed with argument"),
        (("purge", "--group", "g", "--all"), "not allowed with argument"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: tuple[str, ...], said: str, call: Callable[..., Outcome]
) -> None:
    line = refused(call(*arguments))
    assert said in line
    assert line.endswith("--help)\n")


def test_a_module_can_be_run_as_the_command_line() -> None:
    assert finished("--version").out == f"asgi-cache {asgi_cache.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("check",), "rich"),
        (("demo", "--once"), "httpx"),
        (("demo", "--once"), "uvicorn"),
        (("run", "shop:app"), "uvicorn"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_missing_extra_is_named(arguments: tuple[str, ...], missing: str) -> None:
    line = refused(finished(*arguments, missing=(missing,)))
    assert f"{arguments[0]} needs {missing}" in line
    assert "pip install 'asgi-cache[cli]'" in line


def test_purge_needs_no_extra() -> None:
    outcome = finished("purge", "--all", missing=cli.EXTRA)
    assert "memory://" in refused(outcome)


def test_a_bug_is_no_missing_extra(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_settings(options: object) -> None:
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr(commands, "load_settings", load_settings)
    with pytest.raises(ModuleNotFoundError):
        call("check")


def test_interrupted_commands_do_not_claim_success(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_settings(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "load_settings", load_settings)
    assert call("purge", "--all") == (130, "", "")


@pytest.mark.parametrize("command", ["check", "demo"])
def test_a_reader_who_leaves_gets_no_traceback(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = arguments_of(command, *(["--once"] if command == "demo" else []))
    one = subprocess.run(
        arguments,
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (one.returncode, one.stderr) == (1, b"")


# ---------------------------------------------------------------------- run


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ([], "shop:app"),
        ([], "shop:Inside.app"),
        (["--factory"], "shop:make_app"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_run_serves_an_app_behind_the_cache(options: list[str], reference: str) -> None:
    ttls = ["--ttl", "/products/{id}=60", "--ttl", "/products/{id}/{rest:path}=false"]
    with served(reference, *options, *ttls) as (process, url), httpx.Client() as client:
        first, second = (client.get(f"{url}/products/1") for _ in range(2))
        never = client.get(f"{url}/products/1/reviews")
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
        assert (process.returncode, out, error) == (0, "", "")
    assert first.headers["cache-status"] == "asgi-cache; fwd=uri-miss; stored"
    assert second.headers["cache-status"].startswith("asgi-cache; hit")
    assert second.text == "/products/1"
    assert "cache-status" not in never.headers
    assert never.text == "/products/1/reviews"


@pytest.mark.usefixtures("shop")
def test_run_stores_in_redis(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGI_CACHE_NAMESPACE", namespace)
    # The first look-up of a process connects, which a busy machine may not do in time.
    monkeypatch.setenv("ASGI_CACHE_STORE_TIMEOUT", "5")
    monkeypatch.setenv("ASGI_CACHE_REQUEST_STORE_TIMEOUT", "5")
    for expected in ("stored", "hit; ttl=60"):  # by the second, what the first one left
        with served("shop:app", "--store", redis_url, "--ttl", "/a=60") as (process, url):
            answer = httpx.get(f"{url}/a", headers={"Host": "shop.example"})
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        assert expected.partition("=")[0] in answer.headers["cache-status"]


def test_run_uses_the_settings_of_the_current_directory(directory: Path, shop: None) -> None:
    (directory / "asgi-cache.toml").write_text('name = "edge"\n[paths]\n"/a" = 60\n"/b" = 60\n')
    with served("shop:app", "--ttl", "/b=60") as (_, url), httpx.Client() as client:
        assert client.get(f"{url}/a").headers["cache-status"].startswith("edge; fwd=uri-miss; det")
        assert client.get(f"{url}/b").headers["cache-status"] == "edge; fwd=uri-miss; stored"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shop",), "'shop' is not of the form module:app"),
        (("shop:",), "'shop:' is not of the form module:app"),
        ((":app",), "':app' is not of the form module:app"),
        (("./shop:app",), "'./shop:app' is not of the form module:app"),
        (("nowhere:app",), "No module named 'nowhere' (looked for in {directory} first)"),
        (("shop.py:app",), "No module named 'shop.py'; 'shop' is not a package"),
        (("shop:ap",), "shop:ap: module 'shop' has no attribute 'ap'"),
        (("shop:number",), "shop:number is no ASGI app: it is of type int"),
        (("shop:make_app",), "does not take (scope, receive, send); if it makes the app, add --f"),
        (("shop:wrapped",), "shop:wrapped is behind asgi-cache already"),
        (("shop:fail", "--factory"), "shop:fail() raised RuntimeError: no database (shop.py, line"),
        (("shop:number", "--factory"), "shop:number() raised TypeError: 'int' object is not calla"),
        (("shop:make_number", "--factory"), "shop:make_number() is no ASGI app"),
        (
            ("needs:app",),
            "importing needs raised ModuleNotFoundError: No module named 'nowhere' (n",
        ),
        (
            ("slip:app",),
            "importing slip raised SyntaxError: '(' was never closed (slip.py, line 2)",
        ),
        (("fault:app",), "importing fault raised ZeroDivisionError: division by zero (fault.py, l"),
        (("leaves:app",), "importing leaves raised SystemExit: 3 (leaves.py, line 2)"),
        (("mute:app",), "importing mute raised ValueError (mute.py, line 1)"),
        (("shop:app", "--ttl", "/x"), "--ttl '/x': allowed is TEMPLATE=SECONDS"),
        (("shop:app", "--ttl", "/x=1", "--ttl", "/x=2"), "--ttl '/x=2': /x is there already"),
        (
            ("shop:app", "--ttl", "/x=soon"),
            "paths[\"/x\"] = 'soon' (from command line): allowed is a number of seconds",
        ),
        (("shop:app", "--ttl", "x=1"), "the path template 'x'"),
        (
            ("shop:app", "--store", "file:///tmp"),
            "store = 'file:///tmp' (from command line): allowed is",
        ),
        (("shop:app", "--config", "none.toml"), "none.toml (given on the command line)"),
        (
            ("shop:app", "--host", "nowhere.invalid"),
            "cannot listen on port 8000 on nowhere.invalid",
        ),
        (("shop:app", "--host", "192.0.2.1"), "cannot listen on port 8000 on 192.0.2.1: "),
    ],
)
@pytest.mark.usefixtures("shop")
def test_what_run_cannot_serve_is_one_line(
    arguments: tuple[str, ...], said: str, directory: Path, call: Callable[..., Outcome]
) -> None:
    (directory / "needs.py").write_text("import nowhere\n")
    (directory / "slip.py").write_text("# Unfinished.\napp = (\n")
    (directory / "fault.py").write_text("def one():\n    return 1 / 0\napp = one()\n")
    (directory / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (directory / "mute.py").write_text("raise ValueError\n")
    assert said.format(directory=directory) in refused(call("run", *arguments))


def test_the_place_of_an_error_is_where_the_user_can_mend_it(directory: Path) -> None:
    """Not where a library, also of a virtual environment below, noticed it."""
    library = directory / "venv" / "site-packages" / "library.py"
    library.parent.mkdir(parents=True)
    library.write_text("def check(): raise ValueError('wrong')\n")
    (directory / "own.py").write_text("import library\nlibrary.check()\n")
    sys.path.insert(0, str(library.parent))
    with pytest.raises(serving.CommandError, match=r"ValueError: wrong \(own\.py, line 2\)"):
        serving.load_app("own:app")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("arguments", [("run", "shop:app"), ("demo", "--once")])
def test_a_port_in_use_is_one_line(
    arguments: tuple[str, ...], call: Callable[..., Outcome]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused(call(*arguments, "--port", str(port)))
    assert line == (f"asgi-cache: port {port} on 127.0.0.1 is in use; choose another with --port\n")


def test_accepted_connections_do_not_wait_for_acknowledgements() -> None:
    """asyncio sets TCP_NODELAY only where the listening socket names its protocol."""
    with serving.listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 80), "http://127.0.0.1:80"),
        (("0.0.0.0", 80), "http://127.0.0.1:80"),
        (("::1", 80, 0, 0), "http://[::1]:80"),
        (("::", 80, 0, 0), "http://[::1]:80"),
    ],
)
def test_the_url_of_a_socket_can_be_opened(address: tuple[object, ...], url: str) -> None:
    class Listening:
        def getsockname(self) -> tuple[object, ...]:
            return address

    assert serving.url_of(cast("socket.socket", Listening())) == url


# ---------------------------------------------------------------------- an unreachable store


@pytest.mark.parametrize(
    "arguments",
    [("demo", "--once"), ("run", "shop:app"), ("purge", "--all"), ("purge", "--all", "--soft")],
)
@pytest.mark.usefixtures("shop")
def test_an_unreachable_redis_is_one_line(
    arguments: tuple[str, ...], call: Callable[..., Outcome]
) -> None:
    port = free_port()
    line = refused(call(*arguments, "--store", f"redis://shop:secret@127.0.0.1:{port}/0"))
    assert f"redis://shop:***@127.0.0.1:{port}/0" in line
    assert "ConnectionError" in line
    assert "secret" not in line


def test_check_says_that_redis_does_not_answer(call: Callable[..., Outcome]) -> None:
    code, out, error = call("check", "--store", f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    assert (code, error.count("\n")) == (2, 1)
    assert "redis://:***@127.0.0.1" in error
    assert "(from command line) does not answer: ConnectionError" in error
    assert out == ""
    assert "hunter2" not in error


# ---------------------------------------------------------------------- check


def rows(out: str) -> dict[str, list[str]]:
    """The table's rows: name -> value and source."""
    cells = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    return {name: rest for name, *rest in cells if len(rest) == 2}


def test_check_shows_each_setting_and_its_source(
    directory: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome], redis_url: str
) -> None:
    (directory / "asgi-cache.toml").write_text(
        'name = "edge"\nkeep = 1.5\n[paths]\n'
        '"/products/{id}" = { ttl = 60, groups = ["product:{id}"] }\n"/admin" = false\n'
    )
    monkeypatch.setenv("ASGI_CACHE_KEEP", "10")
    monkeypatch.setenv("ASGI_CACHE_AUTHORITIES", '["a.example", "b.example"]')
    code, out, error = call("check", "--store", redis_url)
    assert (code, error) == (0, "")
    shown = rows(out)
    assert list(asgi_cache.Settings.model_fields) == [name for name in shown if name != "setting"]
    assert shown["name"] == ["edge", "asgi-cache.toml"]
    assert shown["keep"] == ["10", "ASGI_CACHE_KEEP"]
    assert shown["store"] == [redis_url, "command line"]
    assert shown["authorities"] == ["a.example, b.example", "ASGI_CACHE_AUTHORITIES"]
    assert shown["max_ttl"] == ["2678400", "default"]
    assert shown["default_ttl"] == ["-", "default"]
    assert shown["etag"] == ["true", "default"]
    assert shown["paths"] == [
        '/products/{id} = {"ttl": 60, "groups": ["product:{id}"]}',
        "asgi-cache.toml",
    ]
    assert "/admin = false" in out
    assert re.search(rf"^store: {redis_url} answers in \d+\.\d ms$", out, re.MULTILINE)
    assert out.endswith("\nnear tier: on\n")


def test_check_says_that_there_is_no_near_tier(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setenv("ASGI_CACHE_NEAR_BYTES", "0")
    code, out, error = call("check", "--store", redis_url)
    assert (code, error) == (0, "")
    assert "\nnear tier: none\n" in out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("client|tracking", "answers, but the near tier (near_bytes = 67108864) is off"),
        ("set", "answers, but takes nothing: NoPermission"),
    ],
)
def test_check_says_what_the_stores_user_may_not(
    call: Callable[..., Outcome], redis_url: str, namespace: str, command: str, said: str
) -> None:
    with Redis.from_url(redis_url) as client:
        user = (namespace, "on", ">hunter2", "~*", "&*", "+@all", f"-{command}")
        client.execute_command("ACL", "SETUSER", *user)
        url = redis_url.replace("redis://", f"redis://{namespace}:hunter2@")
        code, out, error = call("check", "--store", url)
        client.execute_command("ACL", "DELUSER", namespace)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert f"(from command line) {said}" in error
    assert "NoPermission" in error
    assert "hunter2" not in error


def test_what_check_has_the_store_take_ends_by_itself(
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    namespace: str,
) -> None:
    monkeypatch.setattr("asgi_cache.cli.asking.SECONDS_TAKEN", 60.0)
    monkeypatch.setenv("ASGI_CACHE_NAMESPACE", namespace)
    assert call("check", "--store", redis_url).code == 0
    with Redis.from_url(redis_url) as client:
        (place,) = client.scan_iter(f"{namespace}:*", count=1000)
        assert 0 < client.pttl(place) <= 60_000


def test_check_reads_pyproject_and_the_file_that_is_named(
    directory: Path, call: Callable[..., Outcome]
) -> None:
    (directory / "pyproject.toml").write_text('[tool.asgi-cache]\nname = "project"\n')
    assert rows(call("check").out)["name"] == ["project", "pyproject.toml [tool.asgi-cache]"]
    (directory / "other.toml").write_text('name = "other"\n')
    assert rows(call("check", "--config", "other.toml").out)["name"] == ["other", "other.toml"]


def file_line(outcome: Outcome) -> str:
    assert (outcome.code, outcome.error) == (0, "")
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("file: ")]
    return line


def test_check_says_whether_an_app_reads_the_same_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome]
) -> None:
    assert file_line(call("check")) == (
        "file: none (an app reads the one that ASGI_CACHE_CONFIG names, and no other)"
    )
    own = directory / "asgi-cache.toml"
    own.write_text("keep = 1.5")
    found = "found in the current directory. An app does not read it unless told to: "
    assert file_line(call("check")) == f"file: {own.name}, {found}ASGI_CACHE_CONFIG={own}"
    assert rows(call("check").out)["keep"] == ["1.5", own.name]
    # And so it is: the same variable, and an app has what was shown.
    assert asgi_cache.Settings().keep == 3600
    monkeypatch.setenv("ASGI_CACHE_CONFIG", str(own))
    assert asgi_cache.Settings().keep == 1.5
    assert (
        file_line(call("check")) == f"file: {own}, named by ASGI_CACHE_CONFIG, for an app as well"
    )
    other = directory / "other file.toml"
    other.write_text("")
    assert file_line(call("check", "--config", other.name)) == (
        f"file: {other.name}, given on the command line. An app does not read it unless told to: "
        f"ASGI_CACHE_CONFIG='{other}'"
    )
    monkeypatch.delenv("ASGI_CACHE_CONFIG")
    own.unlink()
    project = directory / "pyproject.toml"
    project.write_text("[tool.asgi-cache]\nkeep = 1")
    assert file_line(call("check")) == (
        f"file: {project.name} [tool.asgi-cache], {found}ASGI_CACHE_CONFIG={project}"
    )


def test_check_of_the_default_has_nothing_to_connect_to(call: Callable[..., Outcome]) -> None:
    code, out, error = call("check")
    assert (code, error) == (0, "")
    assert out.endswith(
        "store: memory:// lies in each server process: there is nothing to connect to\n"
    )


def test_check_says_that_a_store_is_too_slow(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setenv("ASGI_CACHE_STORE_TIMEOUT", "0.000001")
    code, out, _ = call("check", "--store", redis_url)
    assert code == 0
    assert "after store_timeout (1e-06 s): requests would go on without the cache" in out


def test_check_of_wrong_settings_is_what_is_wrong(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGI_CACHE_KEEP", "long")
    assert "keep = 'long' (from ASGI_CACHE_KEEP)" in refused(call("check"))


def test_check_shows_no_debug_token(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGI_CACHE_DEBUG_TOKEN", "hunter2")
    code, out, error = call("check")
    assert (code, error) == (0, "")
    assert "hunter2" not in out
    (row,) = [line for line in out.splitlines() if line.strip().startswith("debug_token")]
    assert row.split() == ["debug_token", "***", "ASGI_CACHE_DEBUG_TOKEN"]
    monkeypatch.setenv("ASGI_CACHE_DEBUG_TOKEN", "hunter 2")
    line = refused(call("check"))
    assert "debug_token = *** (from ASGI_CACHE_DEBUG_TOKEN)" in line
    assert "hunter" not in line


def test_check_shows_no_secret(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGI_CACHE_SECRET", '["hunter2-hunter2-1", "hunter2-hunter2-2"]')
    code, out, error = call("check")
    assert (code, error) == (0, "")
    assert "hunter2" not in out
    (row,) = [line for line in out.splitlines() if line.strip().startswith("secret")]
    assert row.split() == ["secret", "***,", "***", "ASGI_CACHE_SECRET"]
    monkeypatch.setenv("ASGI_CACHE_SECRET", '["hunter2-hunter2-1", "hunter2"')
    line = refused(call("check"))
    assert "secret = *** (from ASGI_CACHE_SECRET)" in line
    assert "hunter" not in line


# ---------------------------------------------------------------------- purge


def test_purge_refuses_what_it_cannot_reach(call: Callable[..., Outcome]) -> None:
    line = refused(call("purge", "http://shop.example/"))
    assert "memory://, which lies in each server process" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/products/1",), "'/products/1' names no host"),
        (("--group", "g", "--all-queries"), "--all-queries goes with a URL"),
    ],
)
def test_purge_refuses_what_names_nothing(
    arguments: tuple[str, ...], said: str, call: Callable[..., Outcome], redis_url: str
) -> None:
    assert said in refused(call("purge", *arguments, "--store", redis_url))


URL = "http://shop.example/products/1"


@pytest.mark.parametrize(
    ("arguments", "gone", "said"),
    [
        ((URL,), {"/products/1"}, f"purged: {URL} (every variant)"),
        (
            (URL, "--all-queries"),
            {"/products/1", "/products/1?size=2"},
            f"purged: {URL} (whatever the query)",
        ),
        (
            ("--group", "product:1"),
            {"/products/1", "/products/1?size=2"},
            "purged: group product:1",
        ),
        (("--all",), {"/products/1", "/products/1?size=2", "/products/2"}, "purged: everything"),
        (
            ("--all", "--soft"),
            {"/products/1", "/products/1?size=2", "/products/2"},
            "made stale: everything",
        ),
        ((URL, "--soft"), {"/products/1"}, f"made stale: {URL} (every variant)"),
        (("http://other.example/products/1",), set(), "purged: http://other.example/products/1"),
    ],
)
async def test_purge_ends_what_servers_answer_with(
    arguments: tuple[str, ...],
    gone: set[str],
    said: str,
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    namespace: str,
) -> None:
    counter = itertools.count()

    async def count(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(next(counter)))

    cache = asgi_cache.Cache(
        store=redis_url,
        namespace=namespace,
        store_timeout=5,
        request_store_timeout=10,
        near_bytes=0,
        paths={"/products/{id}": asgi_cache.Rule(ttl=60, groups=["product:{id}"])},
    )
    app = asgi_cache.wrap(Starlette(routes=[Route("/products/{id}", count)]), cache=cache)
    monkeypatch.setenv("ASGI_CACHE_NAMESPACE", namespace)
    paths = ["/products/1", "/products/1?size=2", "/products/2"]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
        before = {path: (await client.get(path)).text for path in paths}
        assert before == {path: (await client.get(path)).text for path in paths}
        outcome = await asyncio.to_thread(call, "purge", *arguments, "--store", redis_url)
        after = {path: (await client.get(path)).text for path in paths}
    await cache.aclose()
    assert (outcome.code, outcome.error) == (0, "")
    assert outcome.out.startswith(said)
    assert outcome.out.endswith(f"in {redis_url}, namespace {namespace}\n")
    assert {path for path in paths if before[path] != after[path]} == gone
