"""Goal: the load on a device is counted, and its reply times are those of late."""

from collectors.traffic import RECENT_REPLIES, Traffic


def test_quantiles_are_of_the_recent_replies() -> None:
    """Seen to bite: without the bound on the recent ones, old slow replies stay in the p95."""
    traffic = Traffic()
    for _ in range(1_000):
        traffic.answered(9.0)
    for number in range(RECENT_REPLIES):
        traffic.answered(number / 1000)

    assert traffic.quantile_s(0.5) == RECENT_REPLIES // 2 / 1000
    assert traffic.quantile_s(0.95) == int(RECENT_REPLIES * 0.95) / 1000


def test_a_device_that_never_answered_has_no_reply_time() -> None:
    traffic = Traffic()
    traffic.asked(12)

    assert traffic.detail() == {
        "requests": 1,
        "bytes_sent": 12,
        "bytes_received": 0,
        "reply_p50_s": None,
        "reply_p95_s": None,
    }
