"""Codes of findings about ot/, and what to do about each. docs/errors.md shows them all.

A code names one kind of mistake for ever: its message may be worded anew, its number is never used
for something else. CF is said of any configuration file, OT of ot/plant.toml and its tag tables.
"""

from typing import NamedTuple

from common.errors import Caution, Finding

HELP = {
    "CF-01": "split the file; tag tables may be files of their own",
    "CF-02": "create the file, or name the right folder with --config",
    "CF-03": "look at owner and mode of the file: the user that runs Tailrace must read it",
    "CF-04": "save the file as UTF-8 in the editor",
    "CF-05": "correct the line; texts stand between quotes, tables begin with [name]",
    "CF-06": "write it as a table: its name between brackets, its keys below",
    "CF-07": "correct the spelling, or delete it: nothing reads it",
    "CF-08": "add the key; the commented sample.toml of the protocol or target shows it",
    "CF-09": "write a value of the kind and within the bounds that the message names",
    "CF-10": "the keys of this table do not go together; change one of those in the message",
    "OT-0101": "give each level a name of its own",
    "OT-0102": "name more levels in [gateway] levels, or shorten root or path",
    "OT-0103": "let thin_coarse_s be a few times thin_fine_s",
    "OT-0104": 'write protocol = "modbus", "s7", "opcua", … into the device or its template',
    "OT-0105": "correct the spelling; docs/plant.md names the protocols",
    "OT-0106": "use letters, digits, '-' and '_', at most 64, beginning with a letter or digit",
    "OT-0107": 'write a text: asset = "Press_Machine"',
    "OT-0108": "rename the level: what reads topics is not always ready for more",
    "OT-0109": "add [devices.NAME.groups.NAME] with period_ms and tags",
    "OT-0110": "spread the devices over several gateways",
    "OT-0111": "put tags that are read at one rate into one group",
    "OT-0112": "shorten root, path, asset or name",
    "OT-0113": "rename one of the two, or give one device another asset",
    "OT-0114": "rename the array or the tag; elements are named name/0, name/1, …",
    "OT-0115": "write codes that docs/plant.md lists",
    "OT-0201": "correct the spelling, or add [templates.NAME]",
    "OT-0202": "move the key into each device that uses the template",
    "OT-0203": "rename the parameter; it stands between braces in the cells",
    "OT-0204": "correct the spelling in the device's parameters",
    "OT-0205": "give the parameter in the device, or a default in the template",
    "OT-0206": "name the template, or delete these keys",
    "OT-0207": "write {name} or {name + 12}; a brace of the text itself is doubled",
    "OT-0208": "calculate with whole numbers only; a text stands alone between its braces",
    "OT-0209": "use the tag's name as it is with this device's parameters filled in",
    "OT-0301": "look whether the file stands beside plant.toml under this name, and may be read",
    "OT-0302": "split the table into several groups",
    "OT-0303": "in the spreadsheet save it as 'CSV UTF-8'",
    "OT-0304": "look for a quotation mark that is opened and not closed in this row",
    "OT-0305": "write the names of the columns into the first row",
    "OT-0306": "correct the spelling, or delete the column; docs/tag-tables.md has them all",
    "OT-0307": "delete one of the two columns",
    "OT-0308": "add the column; every tag has a name, and an address or an expression",
    "OT-0309": "look for a delimiter within a cell: such a cell stands between double quotes",
    "OT-0310": "split the group, or delete it when it is empty",
    "OT-0311": "correct the spelling; docs/tag-tables.md has every key",
    "OT-0312": "name the tag: the topic ends in it",
    "OT-0313": "correct the cell; a semicolon file has decimal commas, a comma file decimal points",
    "OT-0314": "keep the address for what the device gives, the expression for what is made of it",
    "OT-0315": "leave scale empty for 1",
    "OT-0316": "give both ends of both ranges",
    "OT-0317": "leave scale and offset empty beside a range",
    "OT-0318": "correct the range: 4 to 20, 0 to 27648",
    "OT-0319": "give the range, or use minimum and maximum, which hold nothing back",
    "OT-0320": "write deadband_percent = 1 and deadband_of = range, or value",
    "OT-0321": "leave one of the two empty",
    "OT-0322": "exchange the two, or correct one",
    "OT-0323": "copy the identifier from the dictionary, or leave the cell empty",
    "OT-0401": "write it as docs and sample.toml of modbus show: holding:0:FLOAT32",
    "OT-0402": "write it as docs and sample.toml of s7 show: DB40.DBD12 and type REAL",
    "OT-0403": "write it as docs and sample.toml of opcua show: nsu=…;s=… and type Double",
    "OT-0404": 'write it as docs and sample.toml of s7plus show: "Press"."Temperature"',
    "OT-0405": "write sine, counter or constant:VALUE",
    "OT-0411": "leave the cells empty, or read it as a number with another type",
    "OT-0412": "use a unit of common/units.csv, or scale and offset",
    "OT-0413": "correct one of the two units; only what measures the same can be converted",
    "OT-0414": "write into unit what shall be published",
    "OT-0415": "give minimum and maximum, or use deadband_of = value",
    "OT-0421": "keep one of them; a second tag may read the same address in another way",
    "OT-0422": "leave the cell empty, or correct the type of the address",
    "OT-0423": "write 0=Stopped|1=Running",
    "OT-0424": "give each number one text",
    "OT-0425": "write 3, or 4-7: the lower bit first",
    "OT-0426": "write an IANA name such as Europe/Berlin, or install the package tzdata",
    "OT-0501": "count what the PLC counts; scale the total where it is used",
    "OT-0502": "write resets when it is not known",
    "OT-0503": "put the expressions into the group whose tags they use",
    "OT-0504": "leave these cells empty, and calculate in the expression",
    "OT-0505": "leave type empty, or write bool",
    "OT-0506": "docs/tag-tables.md lists what an expression may hold",
    "OT-0507": "correct the spelling; use tags of the same asset, in quotes if they have levels",
    "OT-0508": "windows, rate and prev see one group's readings: move it, or the tag",
    "OT-0509": "use tags that are numbers or truth values",
}
"""Code → what to do, in one line."""

ADDRESS_CODES = {
    "modbus": "OT-0401",
    "s7": "OT-0402",
    "opcua": "OT-0403",
    "s7plus": "OT-0404",
    "simulated": "OT-0405",
}
"""Protocol → code of everything that it has to say of an address."""


class Lint(NamedTuple):
    """One kind of warning."""

    title: str
    help: str


LINTS = {
    "OT-L01": Lint(
        "a topic is longer or deeper than a broker profile allows",
        "shorten root, path, asset or names, or take the profile out of [gateway] broker_profiles",
    ),
    "OT-L02": Lint(
        "a level holds a dot",
        "Kafka and UMH write '.' between levels, so it becomes two there; use '_' or '-'",
    ),
    "OT-L03": Lint(
        "the first level is a word that consumers reserve",
        "begin root with the enterprise; a payload profile puts such a prefix in front by itself",
    ),
    "OT-L04": Lint(
        "two levels differ in upper and lower case only",
        "write both in one way: consumers see two branches, and file systems only one",
    ),
    "OT-L05": Lint(
        "the name ends in another unit than the declared one",
        "rename the tag, or correct unit; with source_unit the value is converted to unit",
    ),
    "OT-L06": Lint(
        "the name ends in a unit, and none is declared",
        "write it into the column unit, so that consumers can compute with it",
    ),
    "OT-L07": Lint(
        "the unit is not known",
        "it is published as it is written; use a UCUM code, or a unit of common/units.csv",
    ),
    "OT-L08": Lint(
        "the tag looks like a counter and has no `counter`",
        "with counter = resets (or 16-bit, 32-bit, …) a total and increments are published that "
        "survive roll-over and restart of the PLC",
    ),
    "OT-L09": Lint(
        "two tags of a device read the same address in the same way",
        "delete one, or correct its address",
    ),
    "OT-L10": Lint(
        "the deadband is as large as the whole range",
        "no change would ever be reported; the deadband is in the published unit",
    ),
    "OT-L11": Lint(
        "a template that no device uses",
        'write template = "…" into a device, or delete the template',
    ),
    "OT-L12": Lint(
        "the protocol is experimental",
        "see the protocol's page before it reads a machine that matters",
    ),
}
"""Warnings of `tailrace check`; docs/plant.md shows them."""


class Wrong(ValueError):
    """What a person wrote cannot be meant; the code says in which way."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def found(code: str, place: str, where: str, message: str) -> Finding:
    """Return a finding of a known code, with its help."""
    return Finding(place, where, message, code, HELP[code])


def told(error: Exception, otherwise: str, place: str, where: str, message: str = "") -> Finding:
    """Return what an error says as a finding: under its own code, or that of its cause, if any."""
    coded = next((each for each in (error, error.__cause__) if isinstance(each, Wrong)), None)
    return found(coded.code if coded else otherwise, place, where, message or str(error))


def caution(code: str, place: str, where: str, message: str) -> Caution:
    """Return a warning of a known code, with its help."""
    return Caution(place, where, message, code, LINTS[code].help)
