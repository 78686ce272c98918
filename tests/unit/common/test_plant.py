"""Goal: whatever is wrong in the OT half, every error at once, each with file, line and remedy."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from common.errors import ConfigError, Finding
from common.plant import Plant, QueueConfig, load_plant, read_queue_config
from common.queue import WhenFull
from common.records import LossClass
from common.sourcetimes import SOURCE_TIME_KEYS, SourceTimeConfig
from common.tagtable import COLUMNS

GATEWAY = '[gateway]\nid = "sitea-line1"\nroot = "Acme/SiteA/Line1"\n'
DEVICE = '[devices.press]\nprotocol = "s7"\nhost = "10.0.0.1"\nasset = "Press"\n'
GROUP = '[devices.press.groups.fast]\nperiod_ms = 250\ntags = "tags/press.csv"\n'
CSV = "name,address,type\nTemperature_C,DB40.DBD12,REAL\n"


def load(folder: Path, plant: str, csv: str | bytes | None = CSV) -> Plant:
    (folder / "ot" / "tags").mkdir(parents=True)
    (folder / "ot" / "plant.toml").write_text(plant, encoding="utf-8")
    if csv is not None:
        data = csv if isinstance(csv, bytes) else csv.encode()
        (folder / "ot" / "tags" / "press.csv").write_bytes(data)
    return load_plant(folder)


def findings(folder: Path, plant: str, csv: str | bytes | None = CSV) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(folder, plant, csv)
    return [str(finding) for finding in refused.value.findings]


def test_a_plant_is_loaded_with_topics_and_the_protocols_own_keys(tmp_path: Path) -> None:
    plant = load(tmp_path, GATEWAY + DEVICE + GROUP)

    (device,) = plant.devices_of("s7")
    (group,) = device.groups
    assert device.settings == {"host": "10.0.0.1"}
    assert device.folder == tmp_path / "ot"
    assert (group.name, group.period_ms) == ("fast", 250)
    assert group.tags[0].topic == "Acme/SiteA/Line1/Press/Temperature_C"
    assert group.tags[0].place == "ot/tags/press.csv:2"


def test_a_device_may_stand_on_levels_below_the_root(tmp_path: Path) -> None:
    """Seen to bite: with the path left out of the topic."""
    plant = load(tmp_path, GATEWAY + DEVICE + 'path = "Cell7/Unit2"\n' + GROUP)

    [device] = plant.devices
    assert device.groups[0].tags[0].topic == "Acme/SiteA/Line1/Cell7/Unit2/Press/Temperature_C"
    assert device.levels == ("enterprise", "site", "area", "line", "cell")
    assert device.settings == {"host": "10.0.0.1"}, "the path is not the protocol's"


def test_a_plant_with_other_levels_names_them(tmp_path: Path) -> None:
    levels = 'levels = ["plant", "block", "function", "system"]\n'

    plant = load(tmp_path, GATEWAY + levels + DEVICE + 'path = "10LAC"\n' + GROUP)

    assert plant.devices[0].levels == ("plant", "block", "function", "system")


@pytest.mark.parametrize(
    "semantic_id",
    [
        "0173-1#02-BAA120#008",
        "0112/2///61987#ABA565#007",
        "https://admin-shell.io/idta/Temperature/1/0",
        "urn:samm:com.acme:1.0.0#temperature",
        "nsu=http://opcfoundation.org/UA/DI/;i=6001",
    ],
)
def test_a_semantic_id_is_an_irdi_an_iri_or_a_node(tmp_path: Path, semantic_id: str) -> None:
    csv = f"name,address,semantic_id\nA,B,{semantic_id}\n"

    [tag] = load(tmp_path, GATEWAY + DEVICE + GROUP, csv).devices[0].groups[0].tags

    assert tag.row.semantic_id == semantic_id


def test_what_is_believed_of_times_is_a_key_of_every_device(tmp_path: Path) -> None:
    keys = 'source_time = "corrected"\nsource_time_ahead_max_s = 5\n'
    plant = load(tmp_path, GATEWAY + 'clock = "trust"\n' + DEVICE + keys + GROUP)

    (device,) = plant.devices
    assert plant.gateway.clock == "trust"
    assert device.source_time == SourceTimeConfig(
        source_time="corrected", source_time_ahead_max_s=5
    )
    assert device.settings == {"host": "10.0.0.1"}, "no protocol sees them"


def test_wrong_words_for_times_are_answered_with_the_right_ones(tmp_path: Path) -> None:
    keys = 'source_time = "corect"\nsource_time_ahead_max_s = -1\n'

    clock, word, limit = findings(tmp_path, GATEWAY + 'clock = "ntp"\n' + DEVICE + keys + GROUP)

    assert clock.startswith(
        "ot/plant.toml:4: gateway.clock: expected one of 'mark', 'trust', found 'ntp'"
    )
    assert word.startswith(
        "ot/plant.toml:9: devices.press.source_time: "
        "expected one of 'corrected', 'ignore', 'trust', found 'corect'"
    )
    assert "source_time_ahead_max_s" in limit


def test_every_error_is_shown_at_once_with_file_and_line(tmp_path: Path) -> None:
    plant = GATEWAY + 'nmae = "x"\n' + DEVICE + GROUP.replace("250", "5") + "preiod_ms = 1\n"
    csv = CSV + "Two words,DB40.DBD16,REAL\nNoAddress,,REAL\n"

    found = findings(tmp_path, plant, csv)

    assert len(found) == 3, "the group with its errors hides its tag table, nothing else"
    assert found[0].startswith("ot/plant.toml:4: gateway.nmae: unknown key 'nmae'")
    assert "ot/plant.toml:12: devices.press.groups.fast.preiod_ms: unknown key" in found[1]
    assert "did you mean 'period_ms'?" in found[1]
    assert found[2].startswith("ot/plant.toml:10: devices.press.groups.fast.period_ms: ")
    assert found[2].endswith(">= 10, found 5 [CF-09]")


@pytest.mark.parametrize(
    ("csv", "says"),
    [
        ("name,address\nA,DB1.DBW0,REAL\n", "ot/tags/press.csv:2: 3 cells under a header of 2"),
        (
            "name,adress\nA,DB1\n",
            "ot/tags/press.csv:1: unknown column 'adress'; did you mean 'addr",
        ),
        ("name,name,address\nA,A,B\n", "column 'name' appears twice"),
        (
            "name,address,scale\nA,B,1o\n",
            "ot/tags/press.csv:2: A: column 'scale': expected `float`",
        ),
        ("name,address,scale\nA,B,0\n", "ot/tags/press.csv:2: A: scale must not be 0"),
        (
            "name,address,raw_low,raw_high\nA,B,0,27648\n",
            "press.csv:2: A: raw_low, raw_high without scaled_low, scaled_high",
        ),
        (
            "name,address,scale,raw_low,raw_high,scaled_low,scaled_high\nA,B,2,0,27648,0,100\n",
            "press.csv:2: A: a raw range and scale or offset say the same twice",
        ),
        (
            "name,address,raw_low,raw_high,scaled_low,scaled_high\nA,B,4,4,0,100\n",
            "press.csv:2: A: a range must not be empty",
        ),
        ("name,address,clamp\nA,B,both\n", "press.csv:2: A: clamp needs the range to hold"),
        (
            "name,address,clamp\nA,B,upper\n",
            "column 'clamp': expected one of '', 'both', 'high', 'low', found 'upper'",
        ),
        (
            "name,address,minimum,maximum\nA,B,5,5\n",
            "press.csv:2: A: minimum 5 must be below maximum 5",
        ),
        (
            "name,address,deadband_percent\nA,B,5\n",
            "deadband_percent and deadband_of belong together",
        ),
        (
            "name,address,deadband,deadband_percent,deadband_of\nA,B,1,5,value\n",
            "deadband and deadband_percent say it twice",
        ),
        (
            "name,address,semantic_id\nA,B,02-BAA120\n",
            "press.csv:2: A: semantic_id '02-BAA120' is neither an IRDI, such as 0173-1#02-BAA120#",
        ),
        ("name,address,min_interval_ms\nA,B,-1\n", "column 'min_interval_ms': expected `int` >= 0"),
        ("name,address,min_interval_ms\nA,B,0.5\n", "'min_interval_ms': expected `int`, got `str`"),
        ("name,address,deadband\nA,B,-1\n", ">= 0.0, found -1.0"),
        ("name,address,scale\nA,B,nan\n", "found nan"),
        ("name,address\n,B\n", "column 'name' is empty"),
        ('name,address\n"A,B\n', "is not CSV"),
        ("name,address\nA b,B\n", "'A b' is not a level of a topic"),
        ("name,address\nA+,B\n", "'A+' is not a level of a topic"),
        ("name,address\n_meta,B\n", "'_meta' is not a level of a topic"),
        ("name,address\nA,B\na,C\n", "is already the topic of devices.press.groups.fast tag A"),
        ("", "ot/tags/press.csv: is empty; the first row names name, address"),
        ("name,address\n", "a group has 1 to 10000 tags, found 0"),
        ("name,address\nTemp\xe9rature,B\n".encode("latin-1"), "ot/tags/press.csv:2: is not UTF-8"),
        (None, "tag table ot/tags/press.csv cannot be read: No such file"),
        (
            "name,address,class\nA,B,Keep\n",
            "press.csv:2: A: column 'class': expected one of 'keep', 'normal', 'first-to-go'",
        ),
        ("name,address,loss_class\nA,B,keep\n", "unknown column 'loss_class'; did you mean 'cl"),
    ],
)
def test_a_wrong_tag_table_names_its_row_and_the_remedy(
    tmp_path: Path, csv: str | bytes | None, says: str
) -> None:
    found = findings(tmp_path, GATEWAY + DEVICE + GROUP, csv)

    assert any(says in finding for finding in found), found


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        ("", "gateway: missing required key 'id'"),
        (GATEWAY + "[devices.press\n", "ot/plant.toml:4: is not TOML"),
        (GATEWAY + "[device.press]\n", "unknown table 'device'"),
        (GATEWAY + '[devices]\npress = "x"\n', "must be a table, [devices.press], found 'x'"),
        (GATEWAY + "[devices.press]\n", 'needs protocol = "…"'),
        (GATEWAY + DEVICE, "needs at least one group"),
        (GATEWAY.replace("Acme/", "Acme//"), "'' is not a level of a topic"),
        (GATEWAY.replace("sitea-line1", "site a"), "gateway.id: expected `str` matching regex"),
        (GATEWAY + DEVICE + GROUP.replace('"tags/press.csv"', "[]"), "1 to 10000 tags, found 0"),
        (
            GATEWAY + DEVICE + GROUP.replace('"tags/press.csv"', '[{name = "A", adress = "B"}]'),
            "did you mean 'address'?",
        ),
        (
            GATEWAY
            + DEVICE
            + GROUP.replace('"tags/press.csv"', '[{name = "A", address = "B", class = 3}]'),
            "ot/plant.toml:10: devices.press.groups.fast.tags[0]: column 'class': expected one of",
        ),
        (GATEWAY + "[quue]\n", "unknown table 'quue'; did you mean 'queue'?"),
        (
            GATEWAY + "[queue]\ncapcity_mib = 64\n",
            "ot/plant.toml:5: queue.capcity_mib: unknown key 'capcity_mib'; did you mean 'capacity",
        ),
        (GATEWAY + "[queue]\ncapacity_mib = 15\n", "queue.capacity_mib: expected `int` >= 16"),
        (GATEWAY + "[queue]\ncapacity_mib = 1048577\n", "`int` <= 1048576, found 1048577"),
        (GATEWAY + "[queue]\ndisk_reserve_mib = -1\n", "`int` >= 0, found -1"),
        (GATEWAY + "[queue]\nage_max_days = 0\n", "`float` > 0.0, found 0"),
        (GATEWAY + "[queue]\nage_max_days = inf\n", "`float` <= 36500.0, found inf"),
        (GATEWAY + '[queue]\nage_max_days = "7 d"\n', "expected `float`, got `str`, found '7 d'"),
        (GATEWAY + "[queue]\nthin_fine_s = nan\n", "queue.thin_fine_s: expected `float` >= 1"),
        (
            GATEWAY + '[queue]\nwhen_full = "drop_oldest"\n',
            "5: queue.when_full: expected one of 'drop-oldest', 'stop-reading', 'thin', found 'dr",
        ),
        (
            GATEWAY + "[queue]\nthin_fine_s = 900\n",
            "ot/plant.toml:4: queue: thin_coarse_s (900) must be larger than thin_fine_s (900)",
        ),
        (
            GATEWAY + 'levels = ["enterprise", "site"]\n' + DEVICE + GROUP,
            "ot/plant.toml:1: gateway: root has 3 levels, and levels names 2",
        ),
        (
            GATEWAY + 'levels = ["site", "area", "site"]\n' + DEVICE + GROUP,
            "ot/plant.toml:1: gateway: levels: two levels have the same name",
        ),
        (
            GATEWAY + 'levels = ["a", "b", "c"]\n' + DEVICE + 'path = "Cell7"\n' + GROUP,
            "devices.press.path: root and path have 4 levels, and [gateway] levels names 3",
        ),
        (
            GATEWAY + DEVICE + 'path = "Cell 7"\n' + GROUP,
            "ot/plant.toml:8: devices.press.path: 'Cell 7' is not a level of a topic",
        ),
        (GATEWAY + DEVICE + "path = 7\n" + GROUP, "devices.press.path: must be text, found 7"),
        (
            GATEWAY + 'broker_profiles = ["amazon"]\n' + DEVICE + GROUP,
            "gateway.broker_profiles: invalid enum value 'amazon'",
        ),
        (
            GATEWAY + DEVICE.replace('"s7"', '""') + GROUP,
            """ot/plant.toml:5: devices.press.protocol: needs protocol = "…\"""",
        ),
        ("queue = 3\n" + GATEWAY, "ot/plant.toml:1: queue: must be a table, [queue], found 3"),
    ],
)
def test_a_wrong_plant_file_names_its_line_and_the_remedy(
    tmp_path: Path, plant: str, says: str
) -> None:
    found = findings(tmp_path, plant)

    assert any(says in finding for finding in found), found


def test_a_missing_plant_file_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="The OT half of the configuration lives there"):
        load_plant(tmp_path)


def test_a_spreadsheet_with_semicolons_decimal_commas_and_a_bom_is_understood(
    tmp_path: Path,
) -> None:
    csv = "\ufeffName;Address;Scale;Offset\r\nA;DB1.DBW0;0,5;-1,25\r\n;;;\r\n"

    plant = load(tmp_path, GATEWAY + DEVICE + GROUP, csv)

    row = plant.devices[0].groups[0].tags[0].row
    assert (row.name, row.scale, row.offset) == ("A", 0.5, -1.25)


def test_two_devices_may_not_publish_to_one_topic(tmp_path: Path) -> None:
    other = (DEVICE + GROUP).replace("devices.press", "devices.twin")

    found = findings(tmp_path, GATEWAY + DEVICE + GROUP + other)

    assert found == [
        (
            "ot/tags/press.csv:2: devices.twin.groups.fast tag Temperature_C: topic "
            "Acme/SiteA/Line1/Press/Temperature_C is already the topic of "
            "devices.press.groups.fast tag Temperature_C (ot/tags/press.csv:2) [OT-0113]"
        )
    ]


def test_the_queue_table_says_how_much_is_kept_and_what_goes_first(tmp_path: Path) -> None:
    """Seen to bite: with `_queue` reading another table, everything is at its default."""
    table = (
        "[queue]\ncapacity_mib = 64\ndisk_reserve_mib = 0\nage_max_days = 0.5\n"
        'when_full = "thin"\nthin_fine_s = 5\nthin_coarse_s = 7.5\n'
    )

    plant = load(tmp_path, GATEWAY + table + DEVICE + GROUP)

    assert plant.queue == QueueConfig(
        capacity_mib=64,
        disk_reserve_mib=0,
        age_max_days=0.5,
        when_full="thin",
        thin_fine_s=5.0,
        thin_coarse_s=7.5,
    )


def test_without_a_queue_table_eight_gigabytes_of_any_age_are_kept(tmp_path: Path) -> None:
    plant = load(tmp_path, GATEWAY + DEVICE + GROUP)

    assert plant.queue == QueueConfig()
    assert plant.queue.capacity_mib == 8_192
    assert plant.queue.disk_reserve_mib == 256
    assert plant.queue.age_max_days is None
    assert plant.queue.when_full == "drop-oldest"


@pytest.mark.parametrize("word", list(WhenFull))
def test_every_policy_of_the_queue_can_be_configured(tmp_path: Path, word: str) -> None:
    """The words stand in two places, because the configuration must not need the database.

    Seen to bite: a policy missing from QueueConfig is refused.
    """
    plant = load(tmp_path, GATEWAY + f'[queue]\nwhen_full = "{word}"\n' + DEVICE + GROUP)

    assert WhenFull(plant.queue.when_full) is WhenFull(word)


def test_the_queue_table_is_read_without_the_rest_of_the_plant(tmp_path: Path) -> None:
    """Method: devices that are nonsense, and a tag table that does not exist.

    Seen to bite: reading the whole plant instead adds the findings of its devices.
    """
    (tmp_path / "ot").mkdir()
    text = '[queue]\ncapacity_mib = 32\n[devices.press.groups.fast]\ntags = "gone.csv"\n'
    (tmp_path / "ot" / "plant.toml").write_text(text, encoding="utf-8")
    findings: list[Finding] = []

    config = read_queue_config(tmp_path, findings)

    assert config.capacity_mib == 32
    assert findings == []


def test_a_wrong_queue_table_is_told_to_whoever_reads_it_alone(tmp_path: Path) -> None:
    """Seen to bite: with its findings thrown away, the default is taken in silence."""
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot" / "plant.toml").write_text("[queue]\ncapacity_mib = 1\n", encoding="utf-8")
    findings: list[Finding] = []

    read_queue_config(tmp_path, findings)
    read_queue_config(tmp_path / "nowhere", findings)

    assert [finding.place for finding in findings] == ["ot/plant.toml:2", "ot/plant.toml"]


@pytest.mark.parametrize(
    ("cell", "loss_class"),
    [
        ("keep", LossClass.KEEP),
        ("normal", LossClass.NORMAL),
        ("first-to-go", LossClass.FIRST_TO_GO),
        ("", LossClass.NORMAL),
    ],
)
def test_the_column_class_says_what_a_full_queue_may_give_up(
    tmp_path: Path, cell: str, loss_class: LossClass
) -> None:
    """Seen to bite: without its name in the table the column `class` is unknown."""
    csv = f"name,address,Class\nA,DB1.DBW0,{cell}\n"

    plant = load(tmp_path, GATEWAY + DEVICE + GROUP, csv)

    assert plant.devices[0].groups[0].tags[0].row.loss_class is loss_class


def test_a_table_of_derived_tags_needs_no_addresses(tmp_path: Path) -> None:
    """As docs/tag-tables.md shows one."""
    csv = "name,expression,unit\nPower_kW,Voltage_V * Current_A / 1000,kW\n"

    [tag] = load(tmp_path, GATEWAY + DEVICE + GROUP, csv).devices[0].groups[0].tags

    assert tag.row.expression == "Voltage_V * Current_A / 1000"


def test_a_row_in_the_plant_file_has_a_class_too(tmp_path: Path) -> None:
    rows = '[{name = "A", address = "B", class = "keep"}, {name = "B", address = "C"}]'

    plant = load(tmp_path, GATEWAY + DEVICE + GROUP.replace('"tags/press.csv"', rows))

    found = [tag.row.loss_class for tag in plant.devices[0].groups[0].tags]
    assert found == [LossClass.KEEP, LossClass.NORMAL]


def test_numbers_of_a_spreadsheet_are_numbers_in_every_column(tmp_path: Path) -> None:
    """Seen to bite: with a whole number left as a float in an int column."""
    csv = "name;address;min_interval_ms;heartbeat_s;deadband\nA;B;250;1,5;0,2\n"

    [tag] = load(tmp_path, GATEWAY + DEVICE + GROUP, csv).devices[0].groups[0].tags
    row = tag.row

    assert (row.min_interval_ms, row.heartbeat_s, row.deadband) == (250, 1.5, 0.2)


def test_every_column_of_the_tag_table_is_on_its_page() -> None:
    page = (Path(__file__).parents[3] / "docs/tag-tables.md").read_text("utf-8")

    assert [column for column in COLUMNS if f"`{column}`" not in page] == []


def test_every_key_about_times_and_each_of_its_words_is_on_its_page() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/time.md").read_text("utf-8")
    words = get_args(msgspec.structs.fields(SourceTimeConfig)[0].type)

    assert [key for key in SOURCE_TIME_KEYS if f"{key} = " not in page] == []
    assert [word for word in words if f"`{word}`" not in page] == []
    assert 'clock = "trust"' in page
    assert 'default: "mark"' in page
