"""Goal: however a server frames its bytes, and the network cuts the frames, the same come out.

Method: wsproto's own server frames them; hypothesis cuts.
"""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping

from uplink.targets.mqtt_config import MqttConfig
from uplink.targets.mqtt_packets import ProtocolFault
from uplink.targets.mqtt_websocket import FRAME_BYTES_MAX, WebSocket


def opened() -> tuple[WebSocket, WSConnection, bytes]:
    """Return both sides of an upgrade, and the server's answer to it."""
    client = WebSocket(MqttConfig(kind="mqtt", host="uns.example.com"), None)
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(client.request())
    list(server.events())
    return client, server, server.send(AcceptConnection(subprotocol="mqtt"))


sizes = st.integers(0, 300) | st.sampled_from([125, 126, 65_535, 65_536])
messages = st.lists(st.lists(sizes, min_size=1, max_size=3), max_size=6)


def filled(size: int) -> bytes:
    return bytes(i % 251 for i in range(size))


@settings(max_examples=50, deadline=None)  # The cores are shared.
@given(messages, st.integers(0, 1), st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_the_bytes_come_out_however_they_are_framed_and_cut(
    sent: list[list[int]], pings_each: int, cuts: list[int]
) -> None:
    """Seen to bite: with a length of 126 taken for a short one."""
    client, server, answer = opened()
    stream = bytearray(answer)
    pings = 0
    for fragments in sent:
        for number, size in enumerate(fragments):
            last = number == len(fragments) - 1
            stream += server.send(BytesMessage(data=filled(size), message_finished=last))
            for _ in range(pings_each):
                stream += server.send(Ping(payload=b"?"))
                pings += 1
    carried = bytearray()
    ready = False
    at = 0
    for cut in itertools.chain(cuts, itertools.repeat(50_000)):
        if at >= len(stream):
            break
        part = bytes(stream[at : at + cut])
        at += cut
        if ready:
            carried += client.unframed(part)
        elif ready := client.answered(part):
            carried += client.unframed(b"")  # What came with the end of the answer.

    server.receive_data(bytes(client.replies))
    assert bytes(carried) == b"".join(map(filled, itertools.chain.from_iterable(sent)))
    assert len(list(server.events())) == pings, "each ping is answered"


@pytest.mark.parametrize("size", [1, 125, 126, FRAME_BYTES_MAX, 3 * FRAME_BYTES_MAX + 1])
def test_what_is_framed_is_what_the_server_reads(size: int) -> None:
    client, server, answer = opened()
    assert client.answered(answer)
    packets = filled(size)

    server.receive_data(client.framed(packets))

    assert b"".join(each.data for each in server.events() if isinstance(each, BytesMessage)) == (
        packets
    )


@pytest.mark.parametrize(
    "event", [CloseConnection(code=1001, reason="restart"), CloseConnection(code=1001)]
)
def test_a_close_is_answered_and_nothing_is_sent_after_it(event: Event) -> None:
    client, server, answer = opened()
    client.answered(answer)

    client.unframed(server.send(event))

    assert client.farewell in ("1001 restart", "1001")
    server.receive_data(bytes(client.replies))
    (reply,) = server.events()
    assert isinstance(reply, CloseConnection)
    assert client.framed(b"late") == client.closing() == b""


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"\x81\x05hello", "a WebSocket frame of text"),
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), "at most"),
    ],
)
def test_text_and_frames_without_end_are_faults(frame: bytes, says: str) -> None:
    client, _, answer = opened()
    client.answered(answer)

    with pytest.raises(ProtocolFault, match=says):
        client.unframed(frame)


@pytest.mark.parametrize("frame", [b"\x83\x01x", b"\xf2\x01x", b"\x82\x81mask?", b"\x80\x01x"])
def test_what_is_no_frame_ends_the_websocket(frame: bytes) -> None:
    """A reserved opcode, reserved bits, a mask from the server, the rest of nothing."""
    client, _, answer = opened()
    client.answered(answer)

    assert client.unframed(frame) == b""
    assert client.farewell is not None
    assert client.farewell.startswith("1002")


def test_a_new_message_within_another_ends_the_websocket() -> None:
    """Seen to bite: with the beginning of a message that is not remembered."""
    client, _, answer = opened()
    client.answered(answer)

    assert client.unframed(b"\x02\x01x" + b"\x82\x01y") == b"x"
    assert client.farewell is not None
    assert client.farewell.startswith("1002")
