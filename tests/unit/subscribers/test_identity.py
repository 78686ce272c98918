"""Goal: an id is understood exactly as gateways write it, and nothing else is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subscribers.identity import Identity, parse_identity

GATEWAYS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
NUMBERS = st.integers(0, 2**64 - 1)
SEQUENCES = st.integers(1, 2**64 - 1)
WHOLE = st.builds(Identity, GATEWAYS, NUMBERS, SEQUENCES, st.none(), st.none())
SAMPLES = st.builds(Identity, GATEWAYS, NUMBERS, SEQUENCES, st.integers(0, 65_535), st.none())
GAPS = st.builds(Identity, GATEWAYS, NUMBERS, SEQUENCES, st.none(), st.integers(0, 2**31 - 1))


@given(WHOLE | SAMPLES | GAPS)
def test_what_a_gateway_writes_is_read_back(identity: Identity) -> None:
    assert parse_identity(str(identity)) == identity


@given(st.text(alphabet="ag:p01- ٣\n", max_size=30))
@example("sitea:17:4711:gap0")
@example("sitea:17:4711:03")
@example("sitea:017:4711:3")
@example("sitea:17:0:3")
@example("sitea:17:4711:3:4")
@example("sitea:17:4711:")
@example("sitea:17:4711:65536")
@example("sitea:17:4711:gap2147483648")
@example("sitea:18446744073709551616:1:0")
@example("sitea:17:4711:3\n")
@example("sitea:17:4711:٣")
@example("")
@example("a" * 100_000)
def test_every_text_is_an_id_that_reads_the_same_or_is_refused(text: str) -> None:
    """Seen to bite: with a class of all digits for [0-9], an Arabic three was a three."""
    try:
        identity = parse_identity(text)
    except ValueError:
        return
    assert str(identity) == text


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("sitea-line1:17:4711:3", Identity("sitea-line1", 17, 4711, 3)),
        ("sitea-line1:17:4711", Identity("sitea-line1", 17, 4711)),
        ("sitea-line1:17:4711:gap", Identity("sitea-line1", 17, 4711, gap=0)),
        ("sitea-line1:17:4711:gap2", Identity("sitea-line1", 17, 4711, gap=2)),
    ],
)
def test_the_three_forms(text: str, identity: Identity) -> None:
    assert parse_identity(text) == identity
