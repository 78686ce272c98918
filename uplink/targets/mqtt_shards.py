"""Several connections to one broker as one: where a broker limits what a connection may send.

AWS IoT Core takes 100 publishes a second from a connection and no more from none. Each shard has a
client id of its own, `-1`, `-2`, …; a topic always goes over the same one, so that the order of its
messages is kept. The first has the will, and everything that the gateway says of itself.

    publish ──topic's hash──▶ shard 1 ══▶ broker          room: of the fullest shard
                              shard 2 ══▶ broker          lost: one shard lost ends them all,
                              …                           and all in flight is published again

Why all of them: what a record needs may be spread over shards, and the status that says that we are
alive belongs to the first. A repeat costs less than an account of its own for every shard.
"""

import select
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from zlib import crc32

from common.errors import TargetUnavailable
from uplink.contract import Answer, Message
from uplink.targets.mqtt_connection import MqttConnection

_NO_WAIT_S = 0.0


class ShardedConnection:
    """N open connections, used as one by one thread."""

    def __init__(self, shards: list[MqttConnection], own_topic: str) -> None:
        """`own_topic` and what stands beside it is said by the first."""
        self._shards = shards
        self._own_branch = own_topic.rpartition("/")[0] + "/"
        self._doom: TargetUnavailable | None = None

    @property
    def room(self) -> int:
        """How many more messages may be published, whatever their topics are."""
        return min(each.room for each in self._shards)

    @property
    def notes(self) -> tuple[str, ...]:
        """What this broker cannot do; each note once."""
        return tuple(dict.fromkeys(note for each in self._shards for note in each.notes))

    @property
    def payload_bytes_max(self) -> int:
        """What a payload may have with a topic of usual length."""
        return min(each.payload_bytes_max for each in self._shards)

    def rejection(self, message: Message) -> str | None:
        """Return why the broker, or MQTT itself, would never take the message."""
        return self._shards[self._shard(message.topic)].rejection(message)

    def publish(self, message: Message) -> int:
        """Gather one PUBLISH; the next exchange sends it."""
        number = self._shard(message.topic)
        return self._shards[number].publish(message) * len(self._shards) + number

    def exchange(self, wait_s: float) -> list[Answer]:
        """Send, wait, read. Raises TargetUnavailable when one connection is lost.

        Answers that came with the loss are returned first; the next call raises.
        """
        if self._doom is not None:
            raise self._doom
        answers, doom = self._turn()
        if not answers and doom is None and wait_s > 0:
            self._wait(wait_s)
            answers, doom = self._turn()
        self._doom = doom
        if doom is not None and not answers:
            raise doom
        return answers

    def close(self) -> None:
        """Say goodbye on each, on the first last."""
        for each in reversed(self._shards):
            each.close()

    def _shard(self, topic: str) -> int:
        if topic.startswith(self._own_branch):
            return 0
        return crc32(topic.encode(errors="replace")) % len(self._shards)

    def _turn(self) -> tuple[list[Answer], TargetUnavailable | None]:
        """Return the answers of all, and why one was lost."""
        answers, doom = [], None
        for number, each in enumerate(self._shards):
            try:
                found = each.exchange(_NO_WAIT_S)
            except TargetUnavailable as error:
                doom = error
                continue
            answers += [
                answer._replace(ticket=answer.ticket * len(self._shards) + number)
                for answer in found
            ]
        return answers, doom

    def _wait(self, wait_s: float) -> None:
        poll = select.poll()
        for each in self._shards:
            each.expect(poll)
        waits_s = [wait_s, *(each.pause_s for each in self._shards if each.pause_s)]
        poll.poll(min(waits_s) * 1_000)


def connect_all(
    connects: Sequence[Callable[[Callable[[], None]], MqttConnection]],
    own_topic: str,
    waiting: Callable[[], None],
) -> ShardedConnection:
    """Open every connection, or none. Raises as they do."""
    with ExitStack() as opened:
        shards = []
        for connect in connects:
            connection = connect(waiting)
            opened.callback(connection.drop)
            shards.append(connection)
        opened.pop_all()
    return ShardedConnection(shards, own_topic)
