"""Units: what a server says (EUInformation, by UNECE code) → what the tag table takes (UCUM).

The unit id is the code of UNECE Recommendation 20 as a number, its letters shifted together
(OPC 10000-8, 5.6.3): "CEL" = 0x43454C. Units that are not here are shown as the server spells them.
"""

_NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"

UCUM = {
    "C62": "1",
    "P1": "%",
    "59": "[ppm]",
    "CEL": "Cel",
    "FAH": "[degF]",
    "KEL": "K",
    "PAL": "Pa",
    "A97": "hPa",
    "KPA": "kPa",
    "MPA": "MPa",
    "BAR": "bar",
    "MBR": "mbar",
    "PS": "[psi]",
    "MTR": "m",
    "CMT": "cm",
    "MMT": "mm",
    "4H": "um",
    "KMT": "km",
    "MTK": "m2",
    "MTQ": "m3",
    "LTR": "L",
    "MLT": "mL",
    "KGM": "kg",
    "GRM": "g",
    "MGM": "mg",
    "TNE": "t",
    "SEC": "s",
    "C26": "ms",
    "B98": "us",
    "MIN": "min",
    "HUR": "h",
    "DAY": "d",
    "MTS": "m/s",
    "2X": "m/min",
    "KMH": "km/h",
    "MSK": "m/s2",
    "MQH": "m3/h",
    "MQS": "m3/s",
    "L2": "L/min",
    "E32": "L/h",
    "G51": "L/s",
    "E93": "kg/h",
    "KGS": "kg/s",
    "KMQ": "kg/m3",
    "HTZ": "Hz",
    "KHZ": "kHz",
    "MHZ": "MHz",
    "RPM": "/min",
    "NEW": "N",
    "B47": "kN",
    "NU": "N.m",
    "JOU": "J",
    "KJO": "kJ",
    "WTT": "W",
    "KWT": "kW",
    "MAW": "MW",
    "WHR": "W.h",
    "KWH": "kW.h",
    "MWH": "MW.h",
    "D46": "V.A",
    "KVA": "kV.A",
    "VLT": "V",
    "2Z": "mV",
    "KVT": "kV",
    "AMP": "A",
    "4K": "mA",
    "OHM": "Ohm",
    "FAR": "F",
    "D33": "T",
    "LUX": "lx",
    "DD": "deg",
    "C81": "rad",
    "2N": "dB",
    "Q30": "[pH]",
}
"""UNECE common code → UCUM."""


def unit_of(namespace: str | None, unit_id: int, display: str | None) -> str:
    """Return the unit for the tag table, empty when the server names none."""
    if namespace in (None, "", _NAMESPACE) and unit_id > 0:
        code = unit_id.to_bytes(8, "big").lstrip(b"\0")
        if code.isascii() and code.decode() in UCUM:
            return UCUM[code.decode()]
    return (display or "").strip()
