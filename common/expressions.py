"""Derived tags: what may stand in an `expression`, checked when it is written, never eval'd.

    (Power_A + Power_B) / 1000          + - * / // % **, comparisons, and or not, brackets
    if(Running, Speed, 0)               if min max abs round sqrt
    rate(Energy_kWh) * 3600             per second, since the value before; prev(x): that value
    mean(Temperature_C, 60)             over windows of 60 s that begin on whole minutes

Names are tags of the same asset; one with a level is written in quotes: 'Zone1/Temperature_C'.
Python's own parser reads the text; what it finds is walked here, node by node, and anything that is
not in this list is refused. Numbers are floats; a comparison gives 1.0 or 0.0, and what is not 0 is
true.
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

EXPRESSION_CHARS_MAX = 1_000
DEPTH_MAX = 50
WINDOW_S_MAX = 86_400.0
WINDOWS = ("mean", "min", "max", "sum", "count", "last", "time_mean", "on_time", "off_time")
"""Of mean, min, …: of the readings; time_mean weighs each by how long it held; on_time and off_time
are seconds within the window in which the tag was not 0, or was."""

Number = float
Values = Mapping[str, float]
"""Name → value of every input; all present."""


class Before(NamedTuple):
    """What an expression remembers of one input: the value before, and when that was."""

    value: float
    at_s: float


@dataclass
class Moment:
    """What an expression may look at."""

    values: Values
    at_s: float
    before: Mapping[str, Before]


Evaluate = Callable[[Moment], float | None]
"""None: there is no value yet (the first rate, the first prev)."""


class Formula(NamedTuple):
    """An expression, understood."""

    inputs: tuple[str, ...]
    evaluate: Evaluate
    """Raises ArithmeticError where there is no such number: a division by 0."""
    looks_back: frozenset[str] = frozenset()
    """Inputs of rate and prev: only readings of the expression's own group are looked back at."""


class Aggregate(NamedTuple):
    """A window function, understood."""

    function: str
    input: str
    window_s: float


def understood(text: str) -> Formula | Aggregate:
    """Return what an expression means. Raises ValueError with a sentence for the person."""
    if len(text) > EXPRESSION_CHARS_MAX:
        raise ValueError(f"an expression has at most {EXPRESSION_CHARS_MAX} characters")
    try:
        # `if(` is a word of Python's own; nobody can have a tag of the name it is given instead.
        tree = ast.parse(_if_as_a_name(text.strip()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise ValueError(f"expression {text!r} cannot be read: {reason}") from None
    aggregate = _aggregate(tree)
    if aggregate:
        return aggregate
    inputs: list[str] = []
    evaluate = _compiled(tree, inputs, 0)
    if not inputs:
        raise ValueError(f"expression {text!r} names no tag: it is a constant")
    return Formula(tuple(dict.fromkeys(inputs)), evaluate, _looked_back_at(tree))


_IF = "if__"


def _if_as_a_name(text: str) -> str:
    """Return the text with `if(` as a call that Python's grammar accepts, outside of quotes."""
    parts = text.split("'")
    for number in range(0, len(parts), 2):
        words = parts[number].replace("if (", "if(").split("if(")
        joined = words[0]
        for word in words[1:]:
            own_word = not (joined[-1:].isalnum() or joined[-1:] == "_")
            joined += (f"{_IF}(" if own_word else "if(") + word
        parts[number] = joined
    return "'".join(parts)


def _aggregate(node: ast.expr) -> Aggregate | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    name, arguments = node.func.id, node.args
    if name not in WINDOWS:
        return None
    seconds = _seconds(arguments[1]) if len(arguments) == 2 else None  # noqa: PLR2004 - tag and window
    if name in ("min", "max") and (seconds is None or _name(arguments[0]) is None):
        return None  # The least of several values, not of one tag over time.
    tag = _name(arguments[0]) if arguments else None
    if seconds is None or tag is None or node.keywords:
        raise ValueError(f"{name} needs a tag and a window in seconds: {name}(Temperature_C, 60)")
    if not 1 <= seconds <= WINDOW_S_MAX or (86_400 / seconds) % 1:
        raise ValueError(
            f"a window of {seconds:g} s cannot be aligned to the clock; a day must hold a whole "
            "number of them: 1, 10, 60, 900, 3600 …"
        )
    return Aggregate(name, tag, seconds)


def _looked_back_at(tree: ast.expr) -> frozenset[str]:
    return frozenset(
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("rate", "prev") and (name := _name(node.args[0]))
    )


def _seconds(node: ast.expr) -> float | None:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value)  # type: ignore[arg-type]  # as the line above says
    return None


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _power(base: float, exponent: float) -> float:
    if base < 0 and exponent % 1:
        raise ArithmeticError("a root of a negative number")
    return float(base**exponent)


_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: _power,
}
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


def _root(value: float) -> float:
    if value < 0:
        raise ArithmeticError("a root of a negative number")
    return math.sqrt(value)


def _rounded(value: float, digits: float = 0) -> float:
    return float(round(value, int(digits)))


_FUNCTIONS: dict[str, tuple[int, int, Callable[..., float]]] = {
    "min": (2, 16, min),
    "max": (2, 16, max),
    "abs": (1, 1, abs),
    "round": (1, 2, _rounded),
    "sqrt": (1, 1, _root),
}
"""Name → fewest and most arguments, and what it does."""


def _compiled(node: ast.expr, inputs: list[str], depth: int) -> Evaluate:
    if depth > DEPTH_MAX:
        raise ValueError(f"an expression is nested at most {DEPTH_MAX} deep")
    name = _name(node)
    if name is not None:
        inputs.append(name)
        return lambda moment: moment.values[name]
    if isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
        constant = float(node.value)  # type: ignore[arg-type]  # as the line above says
        return lambda _: constant
    return _operation(node, inputs, depth)


def _operation(node: ast.expr, inputs: list[str], depth: int) -> Evaluate:
    match node:
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not() as sign, operand=operand):
            return _unary(sign, _compiled(operand, inputs, depth + 1))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _applied(
                _BINARY[type(op)], [_compiled(each, inputs, depth + 1) for each in (left, right)]
            )
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in _COMPARE for op in ops
        ):
            return _chain(
                [_COMPARE[type(op)] for op in ops],
                [_compiled(each, inputs, depth + 1) for each in (left, *others)],
            )
        case ast.BoolOp(op=op, values=values):
            wanted = all if isinstance(op, ast.And) else any
            return _applied(
                lambda *truths: float(wanted(each != 0 for each in truths)),
                [_compiled(each, inputs, depth + 1) for each in values],
            )
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]):
            return _call(function, arguments, inputs, depth)
    raise ValueError(f"{ast.unparse(node).replace(_IF, 'if')!r} may not stand in an expression")


def _call(function: str, arguments: list[ast.expr], inputs: list[str], depth: int) -> Evaluate:
    if function in ("rate", "prev"):
        tag = _name(arguments[0]) if len(arguments) == 1 else None
        if tag is None:
            raise ValueError(f"{function} needs the name of one tag: {function}(Energy_kWh)")
        inputs.append(tag)
        return _rate(tag) if function == "rate" else _prev(tag)
    compiled = [_compiled(each, inputs, depth + 1) for each in arguments]
    if function == _IF:
        if len(compiled) != 3:  # noqa: PLR2004 - condition, then, else
            raise ValueError("if needs three things: if(condition, then, else)")
        return _choice(*compiled)
    if function in WINDOWS and function not in _FUNCTIONS:
        raise ValueError(f"{function} over a window must be the whole expression, not a part of it")
    if function not in _FUNCTIONS:
        known = ", ".join([*_FUNCTIONS, "if", "rate", "prev", *WINDOWS])
        raise ValueError(f"unknown function {function!r}; known are {known}")
    least, most, apply = _FUNCTIONS[function]
    if not least <= len(compiled) <= most:
        raise ValueError(f"{function} takes {least} to {most} values, found {len(compiled)}")
    return _applied(apply, compiled)


def _applied(apply: Callable[..., float], parts: Sequence[Evaluate]) -> Evaluate:
    def evaluate(moment: Moment) -> float | None:
        values = [part(moment) for part in parts]
        return None if None in values else apply(*values)

    return evaluate


def _unary(sign: ast.unaryop, operand: Evaluate) -> Evaluate:
    if isinstance(sign, ast.Not):
        return _applied(lambda value: float(value == 0), [operand])
    if isinstance(sign, ast.USub):
        return _applied(lambda value: -value, [operand])
    return operand


def _chain(compare: list[Callable[[float, float], bool]], parts: list[Evaluate]) -> Evaluate:
    def holds(*values: float) -> float:
        pairs = zip(compare, values, values[1:], strict=False)
        return float(all(check(a, b) for check, a, b in pairs))

    return _applied(holds, parts)


def _choice(condition: Evaluate, then: Evaluate, otherwise: Evaluate) -> Evaluate:
    def evaluate(moment: Moment) -> float | None:
        truth = condition(moment)
        if truth is None:
            return None
        return then(moment) if truth != 0 else otherwise(moment)

    return evaluate


def _rate(tag: str) -> Evaluate:
    def evaluate(moment: Moment) -> float | None:
        before = moment.before.get(tag)
        if before is None or moment.at_s <= before.at_s:
            return None
        return (moment.values[tag] - before.value) / (moment.at_s - before.at_s)

    return evaluate


def _prev(tag: str) -> Evaluate:
    def evaluate(moment: Moment) -> float | None:
        before = moment.before.get(tag)
        return None if before is None else before.value

    return evaluate
