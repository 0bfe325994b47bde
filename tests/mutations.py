"""Small mistakes in a source: a sign, a factor, an index, a statement that is forgotten.

Each mutation replaces one expression or statement of a function and leaves the rest of the text alone. What no test of
numbers can see is left out: annotations, decorators, messages of errors, texts, and constants of modules, which are
choices.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Change = tuple[str, ast.AST | None]
"""What is said of a mutation, and the node in place of the old one; None takes a statement away."""


@dataclass(frozen=True)
class Mutation:
    """source: the whole text with the mistake. line: where. change: what was there, and what is there now."""

    line: int
    change: str
    source: str


def mutations(source: str) -> list[Mutation]:
    """All mutations of a source, in the order of its lines."""
    collected = []
    for node in _of_functions(ast.parse(source)):
        for rule in RULES:
            for kind, new in rule(node):
                old_text, new_text = ast.unparse(node), "pass" if new is None else ast.unparse(new)
                if old_text == new_text:
                    continue
                changed = _replaced(source, node, f"({new_text})" if isinstance(node, ast.expr) else new_text)
                collected.append(Mutation(node.lineno, f"{kind}: {_short(old_text)}  ->  {_short(new_text)}", changed))
    return sorted(collected, key=lambda m: (m.line, m.change))


# --- rules: every one yields what a node may become ---


def signs(node: ast.AST) -> Iterator[Change]:
    """a + b -> a - b, a - b -> a + b, -a -> a."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield "sign", _with(node, op=ast.Sub() if isinstance(node.op, ast.Add) else ast.Add())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield "sign", node.operand


def terms(node: ast.AST) -> Iterator[Change]:
    """a + b -> a, b; a - b -> a; a * b -> a, b; a / b -> a; a * b -> a / b and back; a ** b -> a."""
    if not isinstance(node, ast.BinOp):
        return
    if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow):
        yield "dropped", node.left
    if isinstance(node.op, ast.Add | ast.Mult):
        yield "dropped", node.right
    if isinstance(node.op, ast.Mult | ast.Div):
        yield "factor", _with(node, op=ast.Div() if isinstance(node.op, ast.Mult) else ast.Mult())


def constants(node: ast.AST) -> Iterator[Change]:
    """n -> n + 1, x -> 2 x, True -> False."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        value = node.value
        new = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else 2 * value
        if new != value:
            yield "constant", ast.Constant(new)


def transposes(node: ast.AST) -> Iterator[Change]:
    """a.T -> a, and the first two letters of an einsum's result swapped."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "transposed", node.value
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        subscripts = node.args[0].value
        match = re.fullmatch(r"(.*->(?:\.\.\.)?)([a-z])([a-z])([a-z]*)", str(subscripts))
        if match:
            start, first, second, rest = match.groups()
            yield "transposed", _with(node, args=[ast.Constant(start + second + first + rest), *node.args[1:]])


def arguments(node: ast.AST) -> Iterator[Change]:
    """f(a, b) -> f(b, a) for neighbours that are names or attributes; a @ b -> b @ a."""
    if isinstance(node, ast.Call) and _name(node.func) not in ("max", "min", "maximum", "minimum", "hypot"):
        for i, pair in enumerate(zip(node.args, node.args[1:], strict=False)):
            if all(isinstance(each, ast.Name | ast.Attribute) for each in pair):
                swapped = [*node.args[:i], *pair[::-1], *node.args[i + 2 :]]
                yield "swapped", _with(node, args=swapped)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield "swapped", _with(node, left=node.right, right=node.left)


OPPOSITE: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.GtE(),
    ast.LtE: ast.Gt(),
    ast.Gt: ast.LtE(),
    ast.GtE: ast.Lt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}


def conditions(node: ast.AST) -> Iterator[Change]:
    """Comparisons and negations the other way round, and / or exchanged."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield "negated", _with(node, ops=[OPPOSITE[type(node.ops[0])]])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield "negated", node.operand
    if isinstance(node, ast.BoolOp):
        yield "and / or", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        yield "and / or", _with(node, op=ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd())


TAKEN_FOR = {"mean": "sum", "sum": "mean", "maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max"}


def functions(node: ast.AST) -> Iterator[Change]:
    """The function that is easily taken for another."""
    if not isinstance(node, ast.Call):
        return
    other = TAKEN_FOR.get(_name(node.func))
    if other and isinstance(node.func, ast.Attribute):
        yield "function", _with(node, func=_with(node.func, attr=other))
    if other in ("max", "min") and isinstance(node.func, ast.Name):
        yield "function", _with(node, func=ast.Name(other))


def forgotten(node: ast.AST) -> Iterator[Change]:
    """x = f(x), x += a and x.f(a) are left out; so is a field of x._replace(field=...)."""
    if isinstance(node, ast.Assign):
        set_here = {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        if set_here & {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}:
            yield "forgotten", None
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    if isinstance(node, ast.AugAssign) or isinstance(called, ast.Attribute):
        yield "forgotten", None
    if isinstance(node, ast.Call) and _name(node.func) in ("_replace", "replace"):
        for i in range(len(node.keywords)):
            yield "forgotten", _with(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])


RULES: tuple[Callable[[ast.AST], Iterator[Change]], ...] = (
    signs,
    terms,
    constants,
    transposes,
    arguments,
    conditions,
    functions,
    forgotten,
)


# --- where, and how ---


def _of_functions(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of all function bodies, each once, but those of messages, annotations and types."""
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, inside = pending.pop()
        if inside:
            yield node
        if isinstance(node, ast.FunctionDef):
            pending += [(each, True) for each in node.body]
            pending += [(each, True) for each in [*node.args.defaults, *filter(None, node.args.kw_defaults)]]
        elif isinstance(node, ast.AnnAssign):
            pending += [(node.value, inside)] if node.value else []
        elif not isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
            pending += [(each, inside) for each in ast.iter_child_nodes(node) if getattr(each, "arg", "") != "strict"]


def _with(node: ast.AST, **changes: object) -> ast.AST:
    new = copy.copy(node)
    for name, value in changes.items():
        setattr(new, name, value)
    return new


def _name(called: ast.expr) -> str:
    """Of a function or method that is called."""
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def _replaced(source: str, node: ast.AST, text: str) -> str:
    """Positions in a syntax tree count bytes."""
    assert isinstance(node, ast.expr | ast.stmt) and node.end_lineno is not None and node.end_col_offset is not None
    lines = source.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    whole = source.encode()
    return (whole[:start] + text.encode() + whole[end:]).decode()


def _short(text: str, most: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."
