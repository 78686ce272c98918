"""Columns of a group → monitored items: one for each node, however many columns it fills. Pure."""

from typing import NamedTuple

from collectors.compiling import CompiledGroup
from collectors.opcua.address import NodeAddress
from common.records import ValueType

_NUMBERS = (ValueType.INT64, ValueType.UINT64, ValueType.FLOAT64)


class Target(NamedTuple):
    """One column, and where its value lies in the item's."""

    column: int
    path: tuple[int | str, ...]
    value_type: ValueType


class Item(NamedTuple):
    """One node, or one element of its array, as the server is asked for it."""

    address: NodeAddress
    """Of the first of its columns."""
    targets: tuple[Target, ...]
    numeric: bool
    """True when the server could apply a deadband: every column is a number, or an array's."""
    deadband: float
    """The smallest of its columns', in the unit of the server; 0 for none."""

    @property
    def columns(self) -> list[int]:
        """The columns that it fills."""
        return [target.column for target in self.targets]

    @property
    def whole(self) -> bool:
        """True when the value is one column's, as it is."""
        return not self.address.index_range and not self.targets[0].path and len(self.targets) == 1

    @property
    def structured(self) -> bool:
        """True when some column is a member of a structure."""
        return any(isinstance(step, str) for target in self.targets for step in target.path)


def items_of(group: CompiledGroup[NodeAddress]) -> tuple[Item, ...]:
    """Return the items of a group, in the order of their first columns."""
    members: dict[tuple[object, ...], list[int]] = {}
    for column, address in enumerate(group.addresses):
        key = (address.namespace, address.kind, address.identifier, address.index_range)
        members.setdefault(key, []).append(column)
    return tuple(_item(group, columns) for columns in members.values())


def _item(group: CompiledGroup[NodeAddress], columns: list[int]) -> Item:
    targets = tuple(
        Target(column, group.addresses[column].path, group.addresses[column].value_type)
        for column in columns
    )
    numeric = all(
        target.value_type in _NUMBERS and not any(isinstance(step, str) for step in target.path)
        for target in targets
    )
    deadbands = [
        group.plan.columns[column].deadband / abs(group.plan.columns[column].scale)
        for column in columns
    ]
    return Item(group.addresses[columns[0]], targets, numeric, min(deadbands))
