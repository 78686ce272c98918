"""Goal: each protocol has one page and one sample, and both are whole.

Method: the keys are those of the protocol's …Config struct; the sample must show each of them, and
the page must name each key of the sample in code. The sections are the same on every page, so that
a person who knows one page finds their way on another.
"""

import re
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

from collectors.registry import PROTOCOLS

ROOM = Path(__file__).resolve().parents[2] / "collectors"
SECTIONS = ("Set-up", "Addresses", "Behaviour", "Limits", "Tested peers")
"""What the device needs, what a tag table says, what is done, what is not, and with whom."""
EVERY_DEVICE = {"protocol", "asset", "period_ms", "tags"}
"""Keys of any device and group, which the architecture and the sample explain."""
KEY = re.compile(r"^# ?([a-z][a-z0-9_]*) = |^([a-z][a-z0-9_]*) = ", re.MULTILINE)


def keys_of_config(protocol: str) -> set[str]:
    """Return the keys that an engineer may write for a device."""
    module = import_module(f"{PROTOCOLS[protocol]}.config")
    [config] = [
        each
        for name, each in vars(module).items()
        if name.endswith("Config") and each.__module__ == module.__name__
    ]
    return {each.encode_name for each in msgspec.structs.fields(config)}


def keys_of_sample(sample: str) -> set[str]:
    """Return the keys that a sample shows, as they are or commented out."""
    return {first or second for first, second in KEY.findall(sample)}


def missing_of_sample(keys: set[str], sample: str) -> set[str]:
    """Return the keys that a sample does not show."""
    return keys - keys_of_sample(sample)


def missing_of_page(keys: set[str], page: str) -> set[str]:
    """Return the keys that a page does not name in code, and the sections that it lacks."""
    code = " ".join(re.findall(r"`[^`]+`|^    .*$", page, re.MULTILINE))
    unnamed = {key for key in keys if not re.search(rf"\b{key}\b", code)}
    return unnamed | {f"## {each}" for each in SECTIONS if each not in sections_of(page)}


def sections_of(page: str) -> list[str]:
    """Return the sections that every page has, in the page's order."""
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    return [each for each in headings if each in SECTIONS]


def sample(protocol: str) -> str:
    return (ROOM / protocol / "sample.toml").read_text("utf-8")


def page(protocol: str) -> str:
    return (ROOM / protocol / "README.md").read_text("utf-8")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_sample_shows_every_key(protocol: str) -> None:
    keys = keys_of_config(protocol)

    assert missing_of_sample(keys, sample(protocol)) == set()
    assert keys_of_sample(sample(protocol)) - keys <= EVERY_DEVICE, "and none that is not there"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_page_names_every_key_and_has_every_section(protocol: str) -> None:
    keys = keys_of_sample(sample(protocol)) - EVERY_DEVICE

    assert missing_of_page(keys, page(protocol)) == set()
    assert sections_of(page(protocol)) == list(SECTIONS), "in the order of all pages"


def test_what_is_missing_is_seen() -> None:
    whole = "\n".join(f"## {section}\n" for section in SECTIONS) + "`port = 502` and `host`.\n"

    assert missing_of_sample({"host", "port"}, 'host = "a"\n#port = 502\n') == set()
    assert missing_of_sample({"host", "port"}, "#host is needed\nport = 502\n") == {"host"}
    assert missing_of_page({"host", "port"}, whole) == set()
    assert missing_of_page({"host", "port"}, whole.replace("`host`", "host")) == {"host"}
    assert missing_of_page(set(), whole.replace("## Limits", "### Limits")) == {"## Limits"}
