"""Goal: the primary host is believed when its word is newer, and only then.

Seen to bite: a timestamp compared with < instead of ≤; the memory of the timestamp lost with the
connection.
"""

import json

from uplink.sparkplug.host import PrimaryHost


def said(*, online: bool, at_ms: int) -> bytes:
    return json.dumps({"online": online, "timestamp": at_ms}).encode()


def test_it_is_offline_until_it_says_otherwise() -> None:
    host = PrimaryHost("scada")

    assert not host.online
    assert host.complaint == "waiting for primary host scada: the broker keeps no STATE of it"


def test_its_word_is_taken_when_it_is_not_older_than_the_last() -> None:
    host = PrimaryHost("scada")
    believed = []
    for online, at_ms in [(True, 100), (False, 99), (False, 100), (True, 99), (True, 101)]:
        host.hear(said(online=online, at_ms=at_ms), as_text=False)
        believed.append(host.online)

    assert believed == [True, True, False, False, True]


def test_a_new_connection_must_hear_it_anew_and_an_old_word_is_still_old() -> None:
    host = PrimaryHost("scada")
    host.hear(said(online=True, at_ms=100), as_text=False)
    host.forget()
    forgotten = host.online
    host.hear(said(online=True, at_ms=50), as_text=False)

    assert not forgotten
    assert not host.online, "the broker keeps a word that it should have replaced"


def test_nonsense_changes_nothing() -> None:
    host = PrimaryHost("scada")
    host.hear(said(online=True, at_ms=100), as_text=False)
    for nonsense in (b"", b"ONLINE", b"{}", b'{"online":"no","timestamp":200}', b"\xff"):
        host.hear(nonsense, as_text=False)

    assert host.online


def test_hosts_before_3_0_speak_in_words() -> None:
    host = PrimaryHost("scada")
    believed = []
    for word in (b"ONLINE", b"maybe", b"OFFLINE"):
        host.hear(word, as_text=True)
        believed.append(host.online)

    assert believed == [True, True, False]
    assert host.complaint == "waiting for primary host scada: its STATE says offline"
