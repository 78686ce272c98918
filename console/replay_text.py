"""A replay for people: what would be told of each tag, under one tag table or two."""

from common.trials import Replayed, TableReplayed, TagReplayed
from console.notation import iso_time, printable
from console.tables import count, span, table

NAMES_MAX = 10
Key = tuple[str, str]


def replay_text(done: Replayed, *, against: str) -> list[str]:
    """Return the lines; `against` is what the other configuration is called."""
    devices = ", ".join(done.devices)
    lasted = span((done.last_at_ns - done.first_at_ns) / 1e9)
    head = f"{done.scans:,} scans of {devices}, {lasted} from {_second(done.first_at_ns)}"
    lines = [head, ""]
    lines += _one(done.table) if done.against is None else _two(done.table, done.against)
    lines += ["", *_totals(done, against)]
    for where, found in [("", done.table), (f" of {against}", done.against)]:
        if found is not None:
            lines += _names(f"Recorded, and not in the tag tables{where}", found.unknown)
            lines += _names(f"In the tag tables{where}, and not recorded", found.missing)
    return lines


def _one(found: TableReplayed) -> list[str]:
    header = ("TAG", "READ", "TOLD", "TOLD %", "HELD", "REPEATED", "NOT GOOD")
    rows = [
        (
            printable(f"{each.device}/{each.tag}"),
            count(each.read),
            count(each.told),
            _told_percent(each),
            count(each.held),
            count(each.repeated),
            count(each.not_good),
        )
        for each in found.tags
    ]
    return table(header, rows, [None] * len(rows))


def _two(found: TableReplayed, other: TableReplayed) -> list[str]:
    """Return the tags of which another number would be told."""
    one, two = (_by_key(each) for each in (found, other))
    rows = [
        (
            printable("/".join(key)),
            _number(one.get(key)),
            _number(two.get(key)),
            f"{_told(one.get(key)) - _told(two.get(key)):+,}",
        )
        for key in dict.fromkeys([*one, *two])
        if _facts(one.get(key)) != _facts(two.get(key))
    ]
    if not rows:
        return ["Of every tag the same number of values would be told."]
    same = len({*one, *two}) - len(rows)
    lines = table(("TAG", "TOLD", "AGAINST", "CHANGE"), rows, [None] * len(rows))
    return [*lines, f"{same:,} others are the same"] if same else lines


def _totals(done: Replayed, against: str) -> list[str]:
    lines = [_total("", done.table)]
    if done.against is not None:
        lines.append(_total(f"  against {against}", done.against))
    return lines


def _total(where: str, found: TableReplayed) -> str:
    read = sum(each.read for each in found.tags)
    told = sum(each.told for each in found.tags)
    ratio = f", one of {read / told:,.1f}" if told else ""
    return f"{read:,} values read, {told:,} told{ratio}{where}"


def _names(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - NAMES_MAX:,} more" if len(names) > NAMES_MAX else ""
    return [f"{what}: {', '.join(map(printable, names[:NAMES_MAX]))}{more}"]


def _by_key(found: TableReplayed) -> dict[Key, TagReplayed]:
    return {(each.device, each.tag): each for each in found.tags}


def _facts(tag: TagReplayed | None) -> tuple[int, int, int] | None:
    return None if tag is None else (tag.told, tag.repeated, tag.not_good)


def _told(tag: TagReplayed | None) -> int:
    return 0 if tag is None else tag.told


def _number(tag: TagReplayed | None) -> str:
    return "-" if tag is None else count(tag.told)


def _told_percent(tag: TagReplayed) -> str:
    return f"{100 * tag.told / tag.read:.1f}" if tag.read else "-"


def _second(at_ns: int) -> str:
    return f"{iso_time(at_ns)[:19].replace('T', ' ')}Z"
