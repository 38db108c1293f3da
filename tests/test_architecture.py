"""The layers of the package, read from its syntax trees: imports go downwards only.

Every module stands in ``LAYERS``: a new one fails here until it has been given its place. Imports
for annotations alone (``if TYPE_CHECKING``) count like any other, but for those in ``TYPE_ONLY``.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

import asgi_cache

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT: Final = Path(asgi_cache.__file__).parent
PROJECT: Final = Path(__file__).parents[1]
PACKAGE: Final = "asgi_cache"

LAYERS: Final = (
    (
        *("errors", "fields", "fields.dates", "fields.directives", "fields.structured"),
        *("fields.ranges", "fields.remembering", "fields.syntax"),
    ),
    (
        *("settings", "settings.allowed", "settings.kinds", "settings.paths", "settings.plan"),
        *("settings.files", "settings.loading", "settings.refusals", "settings.rules"),
        *("settings.settings", "settings.sources"),
    ),
    ("model", "sharing"),
    (
        *("policy", "policy.decision", "policy.emission", "policy.folding", "policy.freshness"),
        *("policy.grouping", "policy.invalidation", "policy.keys", "policy.reuse"),
        "policy.storing",
        *("policy.ranges", "policy.scopes", "policy.validation"),
    ),
    (
        *("stores", "stores.base", "stores.capabilities", "stores.codec", "stores.connections"),
        *("stores.guarded", "stores.leases", "stores.memory", "stores.pools", "stores.redis"),
        *("stores.breaker", "stores.deadlines", "stores.journal", "stores.locking"),
        *("stores.probing", "stores.sealing"),
        *("stores.joining", "stores.line", "stores.lookups", "stores.resp", "stores.places"),
        *("stores.operations", "stores.pooled", "stores.bodies", "stores.stamping"),
        *("stores.tracking", "stores.cells", "stores.watching", "stores.tiered", "stores.writing"),
        *("stores.fencing", "stores.readings", "stores.soundness", "stores.zstd"),
        "stores.server_clock",
    ),
    # Keys and a store together; ASGI's messages as values.
    (
        *("messages", "metrics", "health", "notes", "selection", "fill_bytes"),
        *("leasing", "keeping", "opening", "cache", "handle"),
    ),
    (
        *(
            "admission",
            "phases",
            "collapsing",
            "copying",
            "filling",
            "debugging",
            "serving",
            "passing",
        ),
        *("reply", "capture", "validating", "standing", "heads", "anonymous", "following"),
        "trying",
        "fetching",
        "revalidating",
    ),
    ("middleware", "timing"),
    # The public names, and what stands on them.
    ("",),
    (
        *("cli", "cli.asking", "cli.commands", "cli.options", "cli.serving"),
        *("demo", "demo.shop", "demo.story", "demo.tables", "__main__"),
    ),
)

TYPE_ONLY: Final = (
    ("settings.settings", "model"),  # Settings.key and Settings.rule are functions of heads
)
"""Imports upwards that are for annotations alone."""

SHARED_BY_STORES: Final = (
    *("stores.base", "stores.capabilities", "stores.codec", "stores.connections", "stores.leases"),
    "stores.pools",
    *("stores.bodies", "stores.sealing", "stores.stamping", "stores.tracking", "stores.zstd"),
)
"""What a store may import of its siblings."""

PARTS_OF_A_STORE: Final = {
    "stores.guarded": (
        *("stores.breaker", "stores.deadlines", "stores.journal", "stores.probing"),
        "stores.operations",
    ),
    "stores.codec": ("stores.soundness",),
    "stores.redis": (
        *("stores.joining", "stores.lookups", "stores.places", "stores.resp"),
        *("stores.readings", "stores.writing"),
    ),
    "stores.connections": (
        *("stores.deadlines", "stores.joining", "stores.pooled", "stores.resp"),
        "stores.server_clock",
    ),
    "stores.server_clock": ("stores.resp",),
    "stores.joining": ("stores.deadlines", "stores.line", "stores.resp"),
    "stores.pooled": ("stores.joining", "stores.line", "stores.resp"),
    "stores.lookups": ("stores.places", "stores.resp"),
    "stores.tracking": ("stores.line",),
    "stores.tiered": ("stores.cells", "stores.watching"),
    "stores.watching": ("stores.cells", "stores.locking"),
    "stores.leases": ("stores.fencing", "stores.line", "stores.resp"),
    **dict.fromkeys(("stores.line", "stores.writing", "stores.fencing"), ("stores.resp",)),
    **dict.fromkeys(
        ("stores.breaker", "stores.cells", "stores.journal", "stores.probing"),
        ("stores.locking",),
    ),
}
"""What one store alone is made of."""

REDIS: Final = (
    *("stores.redis", "stores.connections", "stores.pools", "stores.pooled", "stores.line"),
    *("stores.resp", "stores.lookups", "stores.tracking", "stores.fencing", "stores.server_clock"),
)
"""Where redis may be imported."""

PURE: Final = (
    *("__future__", "collections.abc", "dataclasses", "enum", "hashlib", "re", "typing"),
    "urllib.parse",
)
"""What the policy may import from elsewhere: no clock, no loop, no chance, no logger, no I/O."""

MOST_LINES: Final = 310

MUTABLE_DISPLAYS: Final = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MUTABLE_TYPES: Final = (
    *("list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter"),
    *("WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "ChainMap", "count", "ContextVar"),
)
FREEZING: Final = ("tuple", "frozenset", "bytes", "MappingProxyType", "compile", "join")
"""Calls that leave nothing to change of what they are given."""


class Import(NamedTuple):
    """One import of one module."""

    module: str
    """Of this package: its path below it (``""``: the package); of others: its whole name."""
    own: bool
    for_types: bool
    line: int


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES: Final = tuple(
    (name_of(path), path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))
)
MODULES: Final = frozenset(name for name, _ in SOURCES)
LAYER_OF: Final = {name: height for height, layer in enumerate(LAYERS) for name in layer}


def walk(tree: ast.AST, for_types: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node, and whether it stands under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        yield node, for_types
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            for one in node.body:
                yield one, True
                yield from walk(one, True)
            for one in node.orelse:
                yield one, for_types
                yield from walk(one, for_types)
        else:
            yield from walk(node, for_types)


def imports_of(source: str) -> Iterator[Import]:
    """Every import, also inside functions; a relative one is a wrong one."""
    for node, for_types in walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            # What is imported from a package may be one of its modules.
            names = [
                whole if whole.removeprefix(f"{PACKAGE}.") in MODULES else base
                for whole in (f"{base}.{alias.name}" for alias in node.names)
            ]
        else:
            continue
        for name in dict.fromkeys(names):
            own = name == PACKAGE or name.startswith((f"{PACKAGE}.", "."))
            below = name.removeprefix(PACKAGE).removeprefix(".") if own else name
            yield Import(below, own, for_types, node.lineno)


def wrong_imports(module: str, source: str) -> list[str]:
    """The imports of *module* that its place does not allow."""
    wrong = []
    for one in imports_of(source):
        allowed = is_allowed(module, one) if one.own else is_allowed_from_elsewhere(module, one)
        if not allowed:
            wrong.append(f"{module}:{one.line} imports {one.module or PACKAGE}")
    return wrong


def is_allowed(module: str, one: Import) -> bool:
    if one.module not in LAYER_OF:
        return False
    if LAYER_OF[one.module] > LAYER_OF[module]:
        return one.for_types and (module, one.module) in TYPE_ONLY
    if module.startswith("stores."):
        sibling = one.module.startswith("stores")
        allowed = (*SHARED_BY_STORES, *PARTS_OF_A_STORE.get(module, ()))
        return one.module in allowed if sibling else not one.module.startswith("policy")
    return module != "timing" or one.module == "errors"


def is_allowed_from_elsewhere(module: str, one: Import) -> bool:
    if one.module.partition(".")[0] == "redis" and module not in REDIS:
        return False
    return not module.startswith("policy") or one.module in PURE


def mutable_objects(source: str) -> list[str]:
    """What is bound at module level and can be changed; ``__all__`` is a list by convention."""
    found = []
    value: ast.expr | None
    for statement in statements(ast.parse(source).body):
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
            targets, value = [statement.target], statement.value
        else:
            continue
        if value is None:
            continue
        names = [ast.unparse(target) for target in targets]
        if names != ["__all__"] and any(map(is_mutable, exposed(value))):
            found += names
    return found


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, also under ``if``, ``for`` and ``try``."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, field, ()))
            for handler in getattr(statement, "handlers", ()):
                yield from statements(handler.body)


def exposed(value: ast.expr) -> Iterator[ast.AST]:
    """The parts of *value* that can be reached through what it is bound to."""
    yield value
    if isinstance(value, ast.Lambda | ast.GeneratorExp | ast.Starred):
        return
    if isinstance(value, ast.Call) and called(value) in FREEZING:
        return
    if isinstance(value, ast.BinOp):  # of the type of its left side
        yield from exposed(value.left)
        return
    for part in ast.iter_child_nodes(value):
        if isinstance(part, ast.expr) and not isinstance(value, ast.Subscript):
            yield from exposed(part)


def called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def is_mutable(value: ast.AST) -> bool:
    if isinstance(value, ast.Call):
        return called(value) in MUTABLE_TYPES
    return isinstance(value, MUTABLE_DISPLAYS)


# --- the package ------------------------------------------------------------------------------


def test_every_module_has_its_place() -> None:
    placed = [name for layer in LAYERS for name in layer]
    assert set(placed) == MODULES
    assert len(placed) == len(MODULES)


@pytest.mark.parametrize(
    ("module", "source"), SOURCES, ids=[name or PACKAGE for name, _ in SOURCES]
)
class TestModule:
    def test_imports_go_downwards(self, module: str, source: str) -> None:
        assert wrong_imports(module, source) == []

    def test_nothing_at_module_level_can_be_changed(self, module: str, source: str) -> None:
        assert mutable_objects(source) == []
        assert not any(isinstance(node, ast.Global) for node in ast.walk(ast.parse(source)))

    def test_it_says_what_it_is_for(self, module: str, source: str) -> None:
        assert ast.get_docstring(ast.parse(source))

    def test_it_has_one_duty(self, module: str, source: str) -> None:
        lines = source.count("\n")
        assert lines <= MOST_LINES


def test_no_module_imports_itself_in_a_circle() -> None:
    imports = {
        name: {one.module for one in imports_of(source) if one.own and not one.for_types}
        for name, source in SOURCES
    }
    # Whatever imports nothing that is left goes first; a circle stays behind.
    while free := {name for name, needed in imports.items() if not needed & imports.keys()}:
        imports = {name: needed for name, needed in imports.items() if name not in free}
    assert imports == {}


def test_the_package_itself_has_no_logic_but_wrap() -> None:
    tree = ast.parse(dict(SOURCES)[""])
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == ["wrap"]
    allowed = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign, ast.FunctionDef)
    for node in tree.body:
        assert isinstance(node, allowed) or ast.unparse(node).startswith("if TYPE_CHECKING:")
    bound = [ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)]
    assert bound == ["__version__", "__all__"]
    branching = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.Match, ast.IfExp)
    assert not any(isinstance(node, branching) for node in ast.walk(functions[0]))


def test_all_public_names_are_there() -> None:
    assert asgi_cache.__all__ == sorted(asgi_cache.__all__)
    for name in asgi_cache.__all__:
        assert hasattr(asgi_cache, name)


# --- and that a wrong one would be found ------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fields", "from asgi_cache.policy.keys import target_of"),
        ("fields", "import asgi_cache.model"),
        ("fields", "from asgi_cache import model"),
        ("model", "import asgi_cache"),
        ("model", "from asgi_cache import Cache"),
        ("fields", "def f():\n    from asgi_cache.cache import Cache"),
        ("fields", "if TYPE_CHECKING:\n    from asgi_cache.cache import Cache"),
        ("fields.dates", "from asgi_cache.settings import Settings"),
        ("settings.settings", "from asgi_cache.model import RequestHead"),
        ("settings.settings", "if TYPE_CHECKING:\n    pass\nelse:\n    import asgi_cache.model"),
        ("settings.settings", "if TYPE_CHECKING:\n    from asgi_cache.policy import reuse"),
        ("settings.plan", "if TYPE_CHECKING:\n    from asgi_cache.model import RequestHead"),
        ("policy.keys", "from asgi_cache.stores.base import Store"),
        ("policy.keys", "from ..stores import Store"),
        ("policy.keys", "from asgi_cache.unknown import x"),
        *[
            ("policy.freshness", f"import {name}")
            for name in (
                "asyncio",
                "time",
                "logging",
                "redis",
                "random",
                "os",
                "starlette.requests",
            )
        ],
        ("policy.freshness", "from time import time"),
        ("policy.freshness", "def f():\n    from datetime import datetime"),
        ("stores.memory", "from asgi_cache.policy.keys import EPOCH"),
        ("stores.memory", "from asgi_cache.stores.redis import RedisStore"),
        ("stores.memory", "from asgi_cache.stores import RedisStore"),
        ("stores.redis", "from asgi_cache.stores.breaker import Breaker"),
        ("stores.memory", "from redis.asyncio import Redis"),
        ("cache", "import redis"),
        ("cache", "from asgi_cache.capture import Capture"),
        ("timing", "from asgi_cache.fields import is_token"),
        ("timing", "from asgi_cache.middleware import CacheMiddleware"),
        ("middleware", "from asgi_cache import demo"),
        ("middleware", "from asgi_cache import wrap"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(wrong_imports(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("settings.settings", "if TYPE_CHECKING:\n    from asgi_cache.model import RequestHead"),
        ("policy.keys", "from asgi_cache.policy.folding import fold_query"),
        ("stores", "from asgi_cache.stores.redis import RedisStore"),
        ("stores.redis", "from asgi_cache.stores.base import Store\nimport redis.asyncio"),
        ("cli.commands", "from asgi_cache import demo, wrap"),
    ],
)
def test_a_right_one_is_not(module: str, source: str) -> None:
    assert wrong_imports(module, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "A = []",
        "A: Final = {}",
        "A: Final[dict[str, int]] = {'a': 1}",
        "A = {1, 2}",
        "A = [one for one in ()]",
        "A = dict(a=1)",
        "A = collections.defaultdict(list)",
        "A = WeakKeyDictionary()",
        "A = (1, [2])",
        "A = B or {}",
        "if True:\n    A = []",
        "try:\n    pass\nexcept ImportError:\n    A = []",
        "for x in y:\n    A = []",
        "A = 1\nA += [2]",
        "A = [1] + B",
    ],
)
def test_a_mutable_object_is_found(source: str) -> None:
    assert mutable_objects(source) == ["A"]


@pytest.mark.parametrize(
    "source",
    [
        "__all__ = ['a']",
        "A = (1, 2)",
        "A: dict[str, list[int]]",
        "A: TypeAlias = Callable[[str], int]",
        "A = frozenset({1, 2})",
        "A = frozenset(B) | {1}",
        "A = MappingProxyType({'a': 1})",
        "A = tuple(x for x in [1, 2])",
        "A = (int, *[str] * 3)",
        "A = lambda: []",
        "def f():\n    a = []",
        "class A:\n    def f(self):\n        self.a = {}",
    ],
)
def test_an_immutable_one_is_not(source: str) -> None:
    assert mutable_objects(source) == []


def test_every_folder_of_tests_is_run() -> None:
    paths = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    named = [*paths["testpaths"], *(PROJECT / ".ci" / "run").read_text().split()]
    folders = {path.parent.relative_to(PROJECT) for path in PROJECT.glob("tests/*/test_*.py")}
    assert sorted(map(str, folders)) == sorted({str(one) for one in folders} & set(named))
