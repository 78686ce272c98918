"""Goal: the rules of the house hold, everywhere, without anybody having to remember them.

Method: each rule reads the files of a tree and names what breaks it, with file and line. Each is
run twice: on the house, where it must find nothing, and on a small tree with one violation planted,
where it must find exactly that. A rule that cannot see is thereby seen.

What a search of names cannot show: that nothing writes to a device by an indirect call. The proof
of that is a simulator that fails on any write, and read-only rights on the device.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]
ROOMS = ("collectors", "normalizer", "uplink", "console", "demo", "common")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
TEXT_BYTES_MAX = 2_000_000

Rule = Callable[[Path], list[str]]

SKIPS_ALLOWED: dict[str, str] = {
    "tests/conftest.py": "tools that no Python package brings; .ci/run installs and requires them",
}
"""Test file → why a test in it may be skipped on some machines."""

WRITES = re.compile(
    # pymodbus: write_coil(s), write_register(s), mask_write_register, readwrite_registers, …
    r"write_(coil|register|file|value|attribute|param|area|multi|setting|symbolic|tag)\w*"
    r"|mask_write_\w+"
    r"|readwrite_\w+"
    # snap7: db_write, ab_write, as_write_area, download, plc_stop, …
    r"|(as_)?(db|ab|eb|mb|tm|ct)_write|as_write_area|db_fill|as_db_fill|(as_)?download"
    r"|(as_)?full_download|plc_(stop|hot_start|cold_start)|(as_)?compress|(as_)?copy_ram_to_rom"
    r"|set_plc_\w+|delete_block"
    # s7commplus: write_symbolic, write_tag(s), db_write_multi, download_block, …
    r"|db_write_\w+|(up|down)load_block|send_subscription_credit"
    # asyncua: write_value, set_value(s), set_attribute, call_method, add_variable, delete_nodes, …
    r"|set_(value|values|attribute|attributes|writable|read_only|data_value)|call_method|call"
    r"|(delete|add)_(node|object|variable|property|method|folder|reference)\w*|history_update\w*"
)
CLOCKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def texts(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of every file that is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - any git
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in sorted(listed):
        path = root / name
        if path.is_file() and path.stat().st_size <= TEXT_BYTES_MAX:
            content = path.read_bytes()
            if b"\0" not in content:
                yield name, content.decode("utf-8", "replace")


def modules(root: Path, *folders: str) -> Iterator[tuple[str, str, ast.Module]]:
    """Yield (name, text, tree) of every Python module in some folders."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            yield str(path.relative_to(root)), text, ast.parse(text)


def modules_fit_the_page(root: Path) -> list[str]:
    """No module of more than 400 lines."""
    return [
        f"{name}: {lines} lines"
        for name, text, _ in modules(root, *ROOMS)
        if (lines := text.count("\n")) > MODULE_LINES_MAX
    ]


def functions_fit_the_screen(root: Path) -> list[str]:
    """No function of more than 60 lines."""
    return [
        f"{name}:{node.lineno} {node.name}: {lines} lines"
        for name, _, tree in modules(root, *ROOMS)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def everything_is_caught_in_one_place(root: Path) -> list[str]:
    """`except Exception`, or wider, only in common/process.py."""
    wide = ("Exception", "BaseException")
    return [
        f"{name}:{node.lineno}"
        for name, _, tree in modules(root, *ROOMS)
        if name != "common/process.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or any(_last_name(each) in wide for each in _each(node.type)))
    ]


def clocks_are_read_in_one_place(root: Path) -> list[str]:
    """Only common/clock.py reads a clock."""
    guilty = []
    for name, _, tree in modules(root, *ROOMS):
        if name == "common/clock.py":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in CLOCKS.get(
                _last_name(node.value), ()
            ):
                guilty.append(f"{name}:{node.lineno} {_last_name(node.value)}.{node.attr}")
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                names = [each.name for each in node.names if each.name in CLOCKS["time"]]
                guilty += [f"{name}:{node.lineno} from time import {each}" for each in names]
    return guilty


def collectors_cannot_write(root: Path) -> list[str]:
    """No name in collectors/ is a write of one of the four libraries."""
    return [
        f"{name}:{node.lineno} {called}"
        for name, _, tree in modules(root, "collectors")
        for node in ast.walk(tree)
        if (called := _called_name(node)) and WRITES.fullmatch(called)
    ]


def no_machine_is_named(root: Path) -> list[str]:
    """No path of one machine and no host of a package registry, in any file."""
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb.debian" + ".org")
    marked = re.compile(
        r"(?<![\w.~-])/(?:work|root|Users|home/\w+)/\w" + "|" + "|".join(map(re.escape, hosts))
    )
    return [
        f"{name}:{number} {found[0]}"
        for name, text in texts(root)
        for number, line in enumerate(text.splitlines(), 1)
        if (found := marked.search(line))
    ]


def nothing_is_left_for_later(root: Path) -> list[str]:
    """No reminder in the code of something not done."""
    marked = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    return [
        f"{name}:{number} {found[0]}"
        for name, text in texts(root)
        for number, line in enumerate(text.splitlines(), 1)
        if (found := marked.search(line))
    ]


def no_test_is_skipped(root: Path) -> list[str]:
    """No test is skipped or expected to fail, except where SKIPS_ALLOWED says why."""
    marks = ("skip", "skipif", "importorskip", "xfail", "SkipTest")
    return [
        f"{name}:{node.lineno} {node.attr}"
        for name, _, tree in modules(root, "tests")
        if name not in SKIPS_ALLOWED
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in marks
    ]


def every_silenced_rule_has_a_reason(root: Path) -> list[str]:
    """`noqa: CODE - reason`, never without either."""
    good = re.compile(r"#\s*noqa: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)* - \S")
    return [
        f"{name}:{number}"
        for name, text, _ in modules(root, *ROOMS, "tests")
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"#\s*" + "noqa", line) and not good.search(line)
    ]


def samples_are_toml_with_and_without_their_defaults(root: Path) -> list[str]:
    """Every sample.toml parses as it is, and with every default that it shows taken in."""
    guilty = []
    for path in sorted(root.glob("*/**/sample.toml")):
        if ".venv" in path.parts:
            continue
        text = path.read_text("utf-8")
        for what, variant in (("as it is", text), ("with its defaults", shown_defaults(text))):
            try:
                tomllib.loads(variant)
            except tomllib.TOMLDecodeError as error:
                guilty.append(f"{path.relative_to(root)} {what}: {error}")
    return guilty


def shown_defaults(sample: str) -> str:
    """Return the sample with its `#key = value` lines taken in; `# prose` stays a comment."""
    return re.sub(r"^#(?=[a-z_]+ = )", "", sample, flags=re.MULTILINE)


def _each(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _called_name(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value  # getattr(client, "write_coil")
    return _last_name(node)


PLANTED: list[tuple[Rule, str, str]] = [
    (modules_fit_the_page, "uplink/long.py", "\n" * (MODULE_LINES_MAX + 1)),
    (functions_fit_the_screen, "common/long.py", "def f():\n" + "    f()\n" * FUNCTION_LINES_MAX),
    (everything_is_caught_in_one_place, "demo/a.py", "try:\n    f()\nexcept Exception:\n    f()\n"),
    (everything_is_caught_in_one_place, "demo/b.py", "try:\n    f()\nexcept:\n    f()\n"),
    (
        everything_is_caught_in_one_place,
        "demo/c.py",
        "try:\n    f()\nexcept (OSError, BaseException):\n    f()\n",
    ),
    (clocks_are_read_in_one_place, "normalizer/a.py", "import time\nT = time.time_ns()\n"),
    (clocks_are_read_in_one_place, "normalizer/b.py", "from time import monotonic\n"),
    (clocks_are_read_in_one_place, "normalizer/c.py", "import datetime as d\nd.datetime.now()\n"),
    (collectors_cannot_write, "collectors/a.py", "client.write_registers(0, [1])\n"),
    (collectors_cannot_write, "collectors/b.py", "client.db_write(1, 0, b'')\n"),
    (collectors_cannot_write, "collectors/c.py", "await_ = node.set_value(1)\n"),
    (collectors_cannot_write, "collectors/d.py", "getattr(client, 'plc_stop')()\n"),
    (collectors_cannot_write, "collectors/e.py", "client.write_tags({'a': b''})\n"),
    (collectors_cannot_write, "collectors/f.py", "client.download_block(1, 1, b'')\n"),
    (no_machine_is_named, "docs/a.md", "see /ro" + "ot/x\n"),
    (no_machine_is_named, "requirements.lock", "--index-url https://py" + "pi.org/simple\n"),
    (nothing_is_left_for_later, "docs/a.md", "TO" + "DO: write this\n"),
    (no_test_is_skipped, "tests/test_a.py", "import pytest\npytest.skip('later')\n"),
    (no_test_is_skipped, "tests/test_b.py", "import pytest\n@pytest.mark.xfail\ndef f(): ...\n"),
    (every_silenced_rule_has_a_reason, "common/a.py", "import os  # no" + "qa\n"),
    (every_silenced_rule_has_a_reason, "common/b.py", "import os  # no" + "qa: F401\n"),
    (samples_are_toml_with_and_without_their_defaults, "uplink/sample.toml", "#port = = 1\n"),
]
RULES: list[Rule] = list(dict.fromkeys(rule for rule, _, _ in PLANTED))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rule(rule: Rule) -> None:
    guilty = rule(HOUSE)

    assert guilty == [], rule.__doc__


@pytest.mark.parametrize(
    ("rule", "name", "content"), PLANTED, ids=[f"{r.__name__}-{n}" for r, n, _ in PLANTED]
)
def test_a_planted_violation_is_named(rule: Rule, name: str, content: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)  # noqa: S607 - any git
    planted = tmp_path / name
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(content)

    guilty = rule(tmp_path)

    assert len(guilty) == 1, "the rule sees the violation, and only that"
    assert guilty[0].startswith(name), "and names the file"
