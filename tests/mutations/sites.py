"""Where a module compares, and what stands there when it is turned round."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from types import CodeType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TURNED: Final[dict[type[ast.AST], tuple[type[ast.AST], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
"""Each operator, and those that take its place in turn; ``not`` is taken out."""


class Mutant(NamedTuple):
    """One module with one operator changed."""

    module: str
    function: str
    """The outermost function that it stands in, with its class: what gets other code."""
    line: int
    original: str
    changed: str
    repeat: int
    """How many of its function before it read the same."""
    code: CodeType
    """Of the function, changed."""

    @property
    def place(self) -> str:
        """Its name in the list of equivalents: without a line number, which moves."""
        repeat = f" ({self.repeat + 1})" if self.repeat else ""
        return f"{self.module}.{self.function}{repeat}: {self.original} -> {self.changed}"


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Every mutant of *module*, in the order of its lines."""
    tree = ast.parse(source)
    seen: Counter[tuple[str, str, str]] = Counter()
    for name, function in functions_of(tree):
        for index, node in enumerate(ast.walk(function)):
            for place, turned in changes_of(node):
                changed = copy.deepcopy(tree)
                other = list(ast.walk(dict(functions_of(changed))[name]))[index]
                text = apply(other, place, turned)
                code = code_of(compile(changed, f"<{module}>", "exec", dont_inherit=True), name)
                original = ast.unparse(node)
                repeat = seen[name, original, text]
                seen[name, original, text] += 1
                yield Mutant(module, name, line_of(node), original, text, repeat, code)


def functions_of(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """The functions of a module and the methods of its classes, by qualified name.

    A comparison elsewhere could not be changed in functions that are there already.
    """
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", member
                else:
                    refuse(member)
        else:
            refuse(node)


def refuse(node: ast.AST) -> None:
    """A constant that is computed by a comparison is seen by nobody here."""
    for inner in ast.walk(node):
        if any(changes_of(inner)):
            raise ValueError(f"outside every function: {ast.unparse(inner)}")


def changes_of(node: ast.AST) -> Iterator[tuple[int, type[ast.AST] | None]]:
    """The changes of one node: which of its operators, and what takes its place."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for turned in TURNED[type(operator)]:
                yield place, turned
    elif isinstance(node, ast.BoolOp):
        for turned in TURNED[type(node.op)]:
            yield 0, turned
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield 0, None


def apply(node: ast.AST, place: int, turned: type[ast.AST] | None) -> str:
    """Change *node* where it stands; how it reads then."""
    if isinstance(node, ast.Compare):
        node.ops[place] = turned()  # type: ignore[misc, assignment]
    elif isinstance(node, ast.BoolOp):
        node.op = turned()  # type: ignore[misc, assignment]
    else:
        assert isinstance(node, ast.UnaryOp)
        # ``not not x`` is ``x`` as a truth value, in the same place of the tree.
        operand = ast.unparse(node.operand)
        node.operand = ast.copy_location(ast.UnaryOp(ast.Not(), node.operand), node.operand)
        return operand
    return ast.unparse(node)


def line_of(node: ast.AST) -> int:
    """Its line; every node that compares is an expression."""
    assert isinstance(node, ast.expr)
    return node.lineno


def code_of(module: CodeType, name: str) -> CodeType:
    """The code of the function *name* in a compiled module."""
    code = module
    for part in name.split("."):
        (code,) = (
            constant
            for constant in code.co_consts
            if isinstance(constant, CodeType) and constant.co_name == part
        )
    return code
