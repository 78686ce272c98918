"""Goal: the end of a certificate is told in time, and more urgently as it comes near."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.clock import now_ns
from demo.pki import Authority, make_pki
from uplink.certificates import validities_of, validity_of
from uplink.expiry import foreseen_ends, peer_validity
from uplink.settings import TargetSettings, resolved_settings
from uplink.targets.mqtt_config import MqttConfig

DAY = timedelta(days=1)


def settings_of(folder: Path) -> TargetSettings:
    config = MqttConfig(
        kind="mqtt",
        host="uns.example.com",
        ca_file="ca.pem",
        cert_file="gateway.pem",
        key_file="gateway.key",
    )
    return resolved_settings("uns", "g1", config, folder)


@pytest.mark.parametrize(
    ("before_end", "step"), [(DAY / 2, 3), (timedelta(hours=1), 3), (-timedelta(hours=1), 4)]
)
def test_a_certificate_becomes_more_urgent_as_its_end_comes_near(
    tmp_path: Path, before_end: timedelta, step: int
) -> None:
    pki = make_pki(tmp_path)
    now = validity_of(pki.client.cert_file).not_after - before_end

    found = foreseen_ends(settings_of(tmp_path), None, now)

    assert found[0].subject == f"our certificate {pki.client.cert_file}"
    assert found[0].text.startswith(found[0].subject)
    assert found[0].step == step
    assert found[1].subject == f"the authority in {pki.ca_file}"


def test_nothing_is_said_while_there_is_time(tmp_path: Path) -> None:
    make_pki(tmp_path)
    now = datetime.fromtimestamp(now_ns() / 1e9, UTC)

    assert foreseen_ends(settings_of(tmp_path), None, now) == []


def test_of_several_authorities_only_the_one_that_lasts_longest_matters(tmp_path: Path) -> None:
    """The old one ends, and is meant to, while the new one is in the file beside it."""
    old = make_pki(tmp_path)
    new = Authority("new").write_ca(tmp_path / "new.pem")
    old.ca_file.write_bytes(old.ca_file.read_bytes() + new.read_bytes())

    first, second = validities_of(old.ca_file)

    assert [first, second] == [validity_of(old.ca_file), validity_of(new)]
    now = first.not_after - timedelta(seconds=1)
    (_, authority) = foreseen_ends(settings_of(tmp_path), None, now)
    assert f"{second.not_after:%Y-%m-%d %H:%M}" in authority.text


def test_the_far_sides_certificate_is_read_as_ssl_tells_it() -> None:
    told = {"notBefore": "Nov 25 10:00:00 2026 GMT", "notAfter": "Dec  5 10:00:00 2026 GMT"}

    validity = peer_validity(told)

    assert validity is not None
    assert validity.not_before == datetime(2026, 11, 25, 10, tzinfo=UTC)
    assert validity.not_after == datetime(2026, 12, 5, 10, tzinfo=UTC)
    assert peer_validity(None) is None
