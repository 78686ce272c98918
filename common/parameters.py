"""Parameters in the cells of a template's rows: `DB{db}.DBD{base + 12}`.

Between braces stands the name of a parameter, or a sum of products of parameters and whole numbers
(`+ - *`). A brace that belongs to the text is written twice: `{{`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from common.codes import Wrong
from common.config import suggestion

Parameters = Mapping[str, int | str]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESULT_MAX = 2**63
_HOLE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]{1,18}|[-+*]")
_CACHED = 100_000
"""Distinct texts between braces that are remembered: those of the rows of one large template."""


def names_in(text: str) -> set[str]:
    """Return the parameters that a cell names.

    Raises ValueError, with a sentence for the person, for braces that mean nothing.
    """
    found: set[str] = set()
    for hole in _HOLE.finditer(text):
        if hole[0] in ("{{", "}}"):
            continue
        if hole[1] is None:
            raise Wrong(
                "OT-0207",
                f"a single {hole[0]!r}: between braces stands a parameter, {{db}}; a brace of the "
                "text itself is written twice",
            )
        found |= {part for part in _parts(hole[1]) if NAME.fullmatch(part)}
    return found


def filled(text: str, parameters: Parameters) -> str:
    """Return a cell with the values of its parameters.

    Raises ValueError, with a sentence for the person.
    """
    if "{" not in text and "}" not in text:
        return text
    return _HOLE.sub(lambda hole: _value(hole, parameters), text)


def _value(hole: re.Match[str], parameters: Parameters) -> str:
    written = hole[1]
    if written is None:
        return hole[0][:1]
    parts = _parts(written)
    if len(parts) == 1 and parts[0] in parameters:
        return str(parameters[parts[0]])
    sums = [_operand(parts[0], written, parameters)]
    for operator, part in zip(parts[1::2], parts[2::2], strict=True):
        operand = _operand(part, written, parameters)
        if operator == "*":
            sums[-1] *= operand
        else:
            sums.append(operand if operator == "+" else -operand)
    result = sum(sums)
    if abs(result) > _RESULT_MAX:
        raise Wrong("OT-0208", f"{{{written}}} is beyond 64 bits")
    return str(result)


def _operand(part: str, written: str, parameters: Parameters) -> int:
    if part.isdigit():
        return int(part)
    if part not in parameters:
        known = list(parameters)
        hint = suggestion(part, known) if known else "; none is given"
        raise Wrong("OT-0204", f"{{{written}}}: unknown parameter {part!r}{hint}")
    value = parameters[part]
    if isinstance(value, str):
        raise Wrong(
            "OT-0208",
            f"{{{written}}} calculates with {part!r}, which is the text {value!r}; give a whole "
            "number, or name the parameter alone",
        )
    return value


@lru_cache(_CACHED)
def _parts(written: str) -> tuple[str, ...]:
    """Return operands and operators in turn, beginning and ending with an operand."""
    parts = tuple(_PART.findall(written))
    whole = "".join(parts) == "".join(written.split())
    in_turn = all((part in "+-*") == (i % 2 == 1) for i, part in enumerate(parts))
    if not whole or not in_turn or len(parts) % 2 == 0:
        raise Wrong(
            "OT-0207",
            f"{{{written}}} cannot be understood; write a parameter, or a calculation with whole "
            "numbers and + - *, such as {base + 12}",
        )
    return parts
