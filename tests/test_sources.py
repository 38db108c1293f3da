from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache.errors import ConfigurationError
from asgi_cache.settings import Rule, Settings, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.upper().startswith("ASGI_CACHE_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the environment names, empty."""
    path = tmp_path / "conf.toml"
    path.write_text("")
    monkeypatch.setenv("ASGI_CACHE_CONFIG", str(path))
    return path


def refusal(**overrides: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Settings(**overrides)
    assert refused.value.__context__ is None
    return str(refused.value)


FROM_TEXT: list[tuple[str, str, object]] = [
    *(("enabled", text, False) for text in ("false", "False", "0", "no", "OFF")),
    *(("etag", text, True) for text in ("true", "TRUE", "1", "yes", "on")),
    ("store", "redis://localhost/0", "redis://localhost/0"),
    ("namespace", "60", "60"),
    ("name", "true", "true"),
    ("default_ttl", "60", 60.0),
    ("default_ttl", "null", None),
    ("default_ttl", ".5", 0.5),
    ("default_ttl", "+1.", 1.0),
    ("max_ttl", "1e3", 1000.0),
    ("ttl_jitter", "0.25", 0.25),
    ("max_body_bytes", "2048", 2048),
    ("honor_request_directives", "on", True),
    ("cookies", "ignore", "ignore"),
    ("debug_token", "60", "60"),
    (
        "secret",
        '["a-secret-of-twenty-1", "0123456789abcdef"]',
        ("a-secret-of-twenty-1", "0123456789abcdef"),
    ),
    ("response_time", "s", "s"),
    ("response_time", "False", False),
    ("authorities", '["a.example", "b.example:8080"]', ("a.example", "b.example:8080")),
    ("key_fields", "[]", ()),
    ("paths", '{"/a": 60, "/b": false}', {"/a": Rule(ttl=60), "/b": False}),
    (
        "paths",
        ' {"/a/{id}": {"ttl": 5, "groups": ["g:{id}"]}}',
        {"/a/{id}": Rule(ttl=5, groups=["g:{id}"])},
    ),
]


@pytest.mark.parametrize(("name", "text", "expected"), FROM_TEXT)
def test_the_environment_is_read(
    name: str, text: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ASGI_CACHE_{name.upper()}", text)
    value = getattr(Settings(), name)
    assert value == expected
    assert type(value) is type(expected)


REFUSED_TEXT: list[tuple[str, str, str, str]] = [
    ("enabled", "maybe", "= 'maybe'", "true or false"),
    ("enabled", "", "= ''", "true or false"),
    ("store", "", "= ''", "memory://"),
    ("store", "redis://:hunter2@h/x", "= 'redis://:***@h/x'", "host:port/0"),
    ("default_ttl", "soon", "= 'soon'", "a number of seconds"),
    ("default_ttl", "", "= ''", "a number of seconds"),
    ("default_ttl", "-1", "= -1", "a number of seconds"),
    ("default_ttl", "1_000", "= '1_000'", "a number of seconds"),
    ("default_ttl", " 60", "= ' 60'", "a number of seconds"),
    ("default_ttl", "60\n", "= '60\\n'", "a number of seconds"),
    ("default_ttl", "\u0661", "= '\u0661'", "a number of seconds"),
    ("default_ttl", "nan", "= 'nan'", "a number of seconds"),
    ("default_ttl", "1e999", "= inf", "a number of seconds"),
    ("keep", "null", "= null", "a number of seconds"),
    ("keep", "9" * 5000, "= inf", "a number of seconds"),
    ("max_body_bytes", "1.5", "= 1.5", "a whole number of bytes"),
    ("max_body_bytes", "1MiB", "= '1MiB'", "a whole number of bytes"),
    ("cookies", "Ignore", "= 'Ignore'", "'explicit' or 'ignore'"),
    ("response_time", "none", "= 'none'", "'ms' or 's' or false"),
    ("response_time", "None", "= 'None'", "'ms' or 's' or false"),
    ("default_ttl", "soon", "= 'soon'", "to 2147483647, or not set."),
    ("authorities", "a.example", "= 'a.example'", 'a list in JSON, for example ["a", "b"]; Exp'),
    ("authorities", '"a.example"', "= 'a.example'", "a list of hosts"),
    ("authorities", "[" * 100_000, "= '[[", "JSON"),
    ("paths", "{", "= '{'", 'a table in JSON, for example {"/products/{id}": 60}; Expecting '),
    ("paths", '{"/a": bad}', "bad", "Expecting value (at character 8)"),
    ("paths", "[]", "= []", "a table of path templates"),
    ("paths", '{"/a": 60, "/a": false}', "", "no key of an object occurs twice"),
]


@pytest.mark.parametrize(("name", "text", "shown", "allowed"), REFUSED_TEXT)
def test_a_wrong_variable_is_refused(
    name: str, text: str, shown: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"ASGI_CACHE_{name.upper()}"
    monkeypatch.setenv(variable, text)
    message = refusal()
    assert message.startswith(f"{name} = ")
    assert shown in message
    assert allowed in message
    assert f"(from {variable})" in message
    assert "hunter2" not in message


def test_files_and_variables_are_answered_in_their_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "ASGI_CACHE_PATHS",
        '{"/True": true, "/a": {"public": null}, "/b": {"query": [null, true, "None or True"]}, '
        '"/c": {"ttl": false}}',
    )
    here = "(from ASGI_CACHE_PATHS): allowed is"
    first, *lines = refusal().splitlines()
    assert first.startswith(f'paths["/True"] = true {here} a number')
    assert lines == [
        f'paths["/a"].public = null {here} true or false.',
        f"paths[\"/b\"].query = [null, true, 'None or True'] {here} "
        "a list of names of query parameters; null is not one, or not set.",
        f'paths["/c"].ttl = false {here} a number of seconds from 0 to 2147483647, or not set.',
    ]
    monkeypatch.delenv("ASGI_CACHE_PATHS")
    assert refusal(etag=None) == "etag = None: allowed is True or False."


def test_a_number_within_json_is_not_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_CACHE_PATHS", '{"/a": "60", "/b": NaN, "/c": {"ttl": -1}}')
    lines = refusal().splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "paths[\"/a\"] = '60' (from ASGI_CACHE_PATHS)",
        'paths["/b"] = nan (from ASGI_CACHE_PATHS)',
        'paths["/c"].ttl = -1 (from ASGI_CACHE_PATHS)',
    ]


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("ASGI_CACHE_DEFUALT_TTL", "did you mean ASGI_CACHE_DEFAULT_TTL?"),
        ("asgi_cache_defualt_ttl", "did you mean ASGI_CACHE_DEFAULT_TTL?"),
        ("Asgi_Cache_Zzzzzzzzzzzzzzzz", "allowed are ASGI_CACHE_ENABLED"),
        ("ASGI_CACHE_CONFIGURATION", "did you mean ASGI_CACHE_CONFIG?"),
        ("ASGI_CACHE_", "there is no such setting"),
        ("ASGI_CACHE_PATHS__A", "did you mean ASGI_CACHE_PATHS?"),
        ("ASGI_CACHE_SECRETS", "did you mean ASGI_CACHE_SECRET?"),
        ("ASGI_CACHE_SERVER_TIMING", "there is no such setting"),
    ],
)
def test_an_unknown_variable_is_refused(
    variable: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "hunter2")
    text = refusal()
    assert text.startswith(f"{variable}: there is no such setting (")
    assert hint in text
    assert "hunter2" not in text


def test_the_case_of_a_variable_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("asgi_cache_Keep", "5")
    assert Settings().keep == 5.0


def test_two_spellings_of_a_variable_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("asgi_cache_keep", "5")
    monkeypatch.setenv("ASGI_CACHE_KEEP", "5")
    assert refusal() == "asgi_cache_keep: allowed is one spelling; ASGI_CACHE_KEEP is set too."


@pytest.mark.parametrize(
    "variable", ["ASGI_CACHE", "ASGI_CACHED_X", "CACHE_KEEP", "KEEP", "STORE", "PATHS", "key"]
)
def test_other_peoples_variables_are_ignored(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "5")
    assert Settings() == Settings.model_construct()


@pytest.mark.parametrize("name", ["key", "rule"])
def test_functions_are_given_by_keyword_only(
    name: str, toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text(f'{name} = "module:function"')
    text = refusal()
    assert text == f"{name} (from {toml}): allowed is a function, given by keyword only."
    toml.write_text("")
    monkeypatch.setenv(f"ASGI_CACHE_{name.upper()}", "module:function")
    assert refusal(**{name: print}).startswith(f"ASGI_CACHE_{name.upper()}: allowed is a function")


def test_the_file_is_read(toml: Path) -> None:
    toml.write_text(
        """
        store = "redis://localhost:6379/0"
        default_ttl = 5
        etag = false
        authorities = ["a.example"]

        [paths]
        "/products/{id}" = { ttl = 60, groups = ["product:{id}", "products"] }
        "/search"        = { ttl = 300, query = ["q", "page"], languages = ["en", "de"] }
        "/static/{rest:path}" = 86400
        "/admin/{rest:path}"  = false
        """
    )
    settings = Settings()
    assert settings.store == "redis://localhost:6379/0"
    assert settings.default_ttl == 5.0
    assert settings.etag is False
    assert settings.authorities == ("a.example",)
    assert list(settings.paths.items()) == [
        ("/products/{id}", Rule(ttl=60, groups=["product:{id}", "products"])),
        ("/search", Rule(ttl=300, query=["q", "page"], languages=["en", "de"])),
        ("/static/{rest:path}", Rule(ttl=86400)),
        ("/admin/{rest:path}", False),
    ]


FILES_REFUSED: list[tuple[str, str, str, str]] = [
    ("defualt_ttl = 1", "defualt_ttl", "", "did you mean default_ttl?"),
    ("default-ttl = 1", "'default-ttl'", "", "did you mean default_ttl?"),
    ('"store.x" = 1', "'store.x'", "", "there is no such setting"),
    ("[settings]", "settings", "", "there is no such setting"),
    ("default_ttl = nan", "default_ttl", "= nan", "a number of seconds"),
    ("default_ttl = inf", "default_ttl", "= inf", "a number of seconds"),
    ('default_ttl = "60"', "default_ttl", "= '60'", "a number of seconds"),
    ("default_ttl = 2026-01-01", "default_ttl", "= <datetime.date>", "a number of seconds"),
    ('paths = "/a"', "paths", "= '/a'", "a table of path templates"),
    ('[paths]\n"/a" = { ttl = -1 }', 'paths["/a"].ttl', "= -1", "a number of seconds"),
    ('[paths."/a"]\ntll = 1', 'paths["/a"].tll', "", "did you mean ttl?"),
    ('authorities = "a"', "authorities", "= 'a'", "a list of hosts"),
    ("store = 1", "store", "= 1", "memory://"),
]


@pytest.mark.parametrize(("document", "key", "shown", "allowed"), FILES_REFUSED)
def test_a_wrong_file_is_refused(
    document: str, key: str, shown: str, allowed: str, toml: Path
) -> None:
    toml.write_text(document)
    text = refusal()
    assert text.startswith(key)
    assert shown in text
    assert f"(from {toml})" in text
    assert allowed in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"a = ", "is not TOML: "),
        (b"store = 'redis://:hunter2@h'\nstore = 1", "is not TOML: "),
        (
            b"keep = 1\n store = redis://:hunter2@h",
            "(at line 2, column 10); this is the line of store: texts stand in quotes; true, false",
        ),
        (b"etag = True", "this is the line of etag: texts stand in quotes; true, false and num"),
        (b"[paths]\n/a = 60", "(at line 2, column 1); a path template stands in double quotes."),
        (b"[paths]\na/b = 60", "column 2); a text stands in quotes, and so does a key such as"),
        (b"secret = [\n  hunter2hunter2hunter2=1,\n]", "line 2, column 3); a text stands in"),
        (b"a = '\xff'", "is not UTF-8"),
        (b"a = " + b"[" * 100_000, "is not TOML"),
    ],
)
def test_an_unreadable_file_is_refused(content: bytes | None, reason: str, toml: Path) -> None:
    if content is None:
        toml.unlink()
    else:
        toml.write_bytes(content)
    text = refusal()
    assert text.startswith(
        f"{toml} (named by ASGI_CACHE_CONFIG): allowed is the name of a readable"
    )
    assert reason in text
    assert "hunter2" not in text


@pytest.mark.parametrize("name", ["", "."])
def test_a_directory_is_not_a_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_CACHE_CONFIG", name)
    assert "allowed is the name of a readable TOML file" in refusal()


def test_the_highest_source_wins(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text('keep = 1\nmax_ttl = 1\nname = "file"')
    monkeypatch.setenv("ASGI_CACHE_KEEP", "2")
    monkeypatch.setenv("ASGI_CACHE_MAX_TTL", "2")
    settings = Settings(keep=3)
    assert (settings.keep, settings.max_ttl, settings.name) == (3.0, 2.0, "file")


def test_paths_are_never_merged(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text('[paths]\n"/a" = { ttl = 1, public = true }\n"/file" = 1')
    assert list(Settings().paths) == ["/a", "/file"]
    monkeypatch.setenv("ASGI_CACHE_PATHS", '{"/a": {"ttl": 2}, "/variable": 2}')
    assert Settings().paths == {"/a": Rule(ttl=2), "/variable": Rule(ttl=2)}
    assert Settings(paths={"/a": {"override": True}}).paths == {"/a": Rule(override=True)}
    assert Settings(paths={}).paths == {}
    monkeypatch.setenv("ASGI_CACHE_PATHS", "{}")
    assert Settings().paths == {}


def test_a_wrong_value_that_is_overridden_does_no_harm(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text("keep = -1")
    monkeypatch.setenv("ASGI_CACHE_KEEP", "soon")
    assert Settings(keep=1).keep == 1.0


def test_the_problems_of_all_sources_are_told(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text("kep = 1\nname = ''")
    monkeypatch.setenv("ASGI_CACHE_ZZZ", "1")
    monkeypatch.setenv("ASGI_CACHE_ETAG", "perhaps")
    lines = refusal(stor="", max_ttl=0).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "stor",
        "ASGI_CACHE_ZZZ",
        f"kep (from {toml})",
        "etag = 'perhaps' (from ASGI_CACHE_ETAG)",
        "max_ttl = 0",
        f"name = '' (from {toml})",
    ]


@pytest.mark.parametrize("name", [".env", "asgi-cache.toml", "pyproject.toml", "config.toml"])
def test_a_library_reads_nothing_from_the_current_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("ASGI_CACHE_KEEP=1\nkeep = 1\n[tool.asgi-cache]\nkeep = 1\n")
    monkeypatch.chdir(tmp_path)
    assert Settings().keep == 3600.0
    assert load()[0].keep == 3600.0


def test_load_tells_where_each_setting_comes_from(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text('keep = 1\nmax_ttl = 1\nname = "file"')
    monkeypatch.setenv("asgi_cache_max_ttl", "2")
    settings, sources = load(None, {"keep": 3})
    assert settings == Settings(keep=3)
    assert list(sources) == list(Settings.model_fields)
    assert sources["keep"] == "command line"
    assert sources["max_ttl"] == "asgi_cache_max_ttl"
    assert sources["name"] == str(toml)
    assert sources["store"] == "default"


def test_load_prefers_the_file_that_it_is_given(toml: Path, tmp_path: Path) -> None:
    toml.write_text("keep = 1\nmax_ttl = 1")
    given = tmp_path / "given.toml"
    given.write_text("keep = 2")
    settings, sources = load(given, directory=tmp_path)
    assert (settings.keep, sources["keep"]) == (2.0, str(given))
    assert sources["max_ttl"] == "default"
    given.unlink()
    with pytest.raises(ConfigurationError, match=r"given\.toml \(given on the command line\)"):
        load(given)


def test_load_looks_into_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(directory=tmp_path)[0] == Settings()
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.other]\nkeep = 1")
    assert load(directory=tmp_path)[0].keep == 3600.0
    project.write_text("[tool.asgi-cache]\nkeep = 1\n[tool.asgi-cache.paths]\n'/a' = 60")
    settings, sources = load(directory=tmp_path)
    assert settings.paths == {"/a": Rule(ttl=60)}
    assert sources["keep"] == f"{project} [tool.asgi-cache]"
    own = tmp_path / "asgi-cache.toml"
    own.write_text("keep = 2")
    settings, sources = load(directory=tmp_path)
    assert (settings.keep, sources["keep"], sources["paths"]) == (2.0, str(own), "default")
    named = tmp_path / "named.toml"
    named.write_text("keep = 3")
    monkeypatch.setenv("asgi_cache_config", str(named))
    assert load(directory=tmp_path)[0].keep == 3.0


def test_a_project_file_that_is_named_must_have_the_table(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    for content in ("", "tool = 1", "[tool]\nasgi-cache = 1"):
        project.write_text(content)
        with pytest.raises(ConfigurationError, match=r"a table \[tool\.asgi-cache\]"):
            load(project)


def test_load_refuses_what_settings_refuse(tmp_path: Path, toml: Path) -> None:
    toml.write_text("kep = 1\netag = 1")
    with pytest.raises(ConfigurationError) as refused:
        load(None, {"stor": 1, "store": "redis://:hunter2@h/x"})
    lines = str(refused.value).splitlines()
    assert "= 'redis://:***@h/x' (from command line): " in lines[2]
    assert [line.partition(":")[0] for line in lines] == [
        "stor",
        f"kep (from {toml})",
        "store = 'redis",
        f"etag = 1 (from {toml})",
    ]
    assert "hunter2" not in str(refused.value)
