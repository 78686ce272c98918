"""`tailrace verify` for people: what adds up, what does not, and where to look."""

import msgspec

from console.tables import count, span, table
from subscribers.reconciling import Comparison, GatewayVerdict

ASSETS_SHOWN = 20


class Verification(msgspec.Struct, kw_only=True):
    """What `tailrace verify` found."""

    broker: str
    topics: list[str]
    seconds: float
    messages: int
    reconnects: int
    session_lost: bool
    """The broker forgot what it kept for us: what came meanwhile is not known."""
    unread: int
    """Messages without an identity."""
    unread_topics: list[str]
    gateways: list[GatewayVerdict]
    silent: list[str]
    """Gateways that spoke of themselves and sent no data."""
    assets: dict[str, int]
    """Topic above the tag → samples."""

    @property
    def sound(self) -> bool:
        """Whether everything that was seen adds up."""
        return (
            bool(self.gateways)
            and all(each.sound for each in self.gateways)
            and not (self.session_lost or self.unread)
        )


def verify_text(found: Verification) -> list[str]:
    """Return the lines: each gateway, then what was seen beside them, then the verdict."""
    rate = found.messages / found.seconds if found.seconds else 0.0
    heard = f"{count(found.messages)} messages in {span(found.seconds)}, {rate:,.0f}/s"
    lines = [f"{found.broker}: {heard}, on {', '.join(found.topics)}"]
    for each in found.gateways:
        lines += ["", *_gateway_text(each)]
    if found.assets:
        assets = sorted(found.assets.items(), key=lambda one: -one[1])
        rows = [(name, count(samples)) for name, samples in assets[:ASSETS_SHOWN]]
        lines += ["", *table(("ASSET", "SAMPLES"), rows, [None] * len(rows))]
        if len(assets) > ASSETS_SHOWN:
            lines.append(f"and {count(len(assets) - ASSETS_SHOWN)} more")
    lines += ["", *_findings(found)]
    return lines


def _gateway_text(each: GatewayVerdict) -> list[str]:
    header = ("GATEWAY", "EPOCH", "SEQUENCES", "SAMPLES", "REPEATS", "MISSING", "TOLD", "DISORDER")
    row = (
        each.gateway,
        str(each.epoch),
        f"{each.first} to {each.last}",
        count(each.samples),
        count(each.repeats),
        count(each.missing),
        count(each.told),
        count(each.disorder),
    )
    lines = table(header, [row], [None])
    if each.comparison:
        lines += ["", *_comparison_text(each.comparison)]
    if each.lost:
        rows = [
            (one.device or "?", one.cause, count(one.gaps), count(one.samples), count(one.unknown))
            for one in each.lost
        ]
        columns = ("LOST AT DEVICE", "CAUSE", "GAPS", "SAMPLES", "OF UNKNOWN SIZE")
        lines += ["", *table(columns, rows, [None] * len(rows))]
    return lines


def _comparison_text(one: Comparison) -> list[str]:
    """Return the two sides: what the gateway says, and what came."""
    says = (one.collected, one.unchanged, one.queued, one.delivered, one.lost)
    came = (one.arrived, one.set_aside, one.named_in_gaps, one.difference)
    note = f"of sequences {one.from_sequence} to {one.to_sequence}"
    return [
        *table(
            ("COLLECTED", "UNCHANGED", "QUEUED", "DELIVERED", "LOST"),
            [tuple(count(each) for each in says)],
            [note],
        ),
        *table(
            ("ARRIVED", "SET ASIDE", "NAMED IN GAPS", "DIFFERENCE"),
            [tuple(count(each) for each in came)],
            [None],
        ),
    ]


def _findings(found: Verification) -> list[str]:
    """Return a sentence for each thing that does not add up, or one that everything does."""
    said = [text for each in found.gateways for text in _findings_of(each)]
    said += [f"{name} speaks of itself, but no data of it came" for name in found.silent]
    if not found.gateways:
        said.append("no message with an identity came; is the topic right, and does data flow?")
    if found.session_lost:
        said.append("the broker forgot our session: what was published meanwhile is not known")
    if found.unread:
        topics = ", ".join(found.unread_topics)
        said.append(f"{count(found.unread)} messages have no identity to judge by, as on {topics}")
    if found.sound:
        return ["Everything adds up.", *said]
    return ["It does not add up:", *(f"  {text}" for text in said)]


def _findings_of(each: GatewayVerdict) -> list[str]:
    said = []
    name = each.gateway
    if each.missing:
        spans = ", ".join(
            str(first) if first == last else f"{first} to {last}"
            for first, last in each.missing_spans
        )
        refused = each.comparison.set_aside if each.comparison else 0
        beside = f"; {count(refused)} messages are set aside at the gateway" if refused > 0 else ""
        said.append(
            f"{name}: {count(each.missing)} sequences never came and no gap tells them: "
            f"{spans}{beside}"
        )
    if each.doubtful:
        said.append(
            f"{name}: {count(each.doubtful)} samples came so late that whether they are repeats "
            "is not known"
        )
    if each.disorder:
        topics = ", ".join(each.disorder_topics[:3])
        said.append(
            f"{name}: {count(each.disorder)} samples came behind newer ones of their topic: "
            f"{topics}; a broker's quota, or messages retried at the gateway, may do that"
        )
    if not each.balances:
        said.append(f"{name}: the gateway's own ledger does not balance; tailrace queue verify")
    one = each.comparison
    if one is None:
        depth = "" if each.queue_depth is None else f" ({count(each.queue_depth)} are queued)"
        said.append(
            f"{name}: not compared: it did not say twice, while nothing was queued{depth}, what "
            "it has delivered; give it more --seconds, or --until-complete"
        )
    elif one.difference:
        word = "fewer" if one.difference > 0 else "more"
        said.append(
            f"{name}: {count(abs(one.difference))} samples {word} than the gateway delivered"
        )
    return said
