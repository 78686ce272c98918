"""`python -m collectors.plans`: what ot/ means, compiled as every collector compiles it.

One JSON document on standard output (common/trials.py, `Compiled`). No device is met.
"""

import argparse
import sys
from pathlib import Path

import msgspec

from collectors.check import check_protocol_names, compile_devices, folded
from collectors.compiling import HasGroups
from collectors.registry import PROTOCOLS
from common.errors import Caution, Finding
from common.places import Places
from common.plant import read_plant
from common.records import Plan
from common.trials import Compiled


def compiled_plans(config_dir: Path) -> tuple[list[Plan], list[Finding]]:
    """Return the plans of every device that has nothing wrong, and everything that is wrong."""
    findings: list[Finding] = []
    plans: list[Plan] = []
    plant = read_plant(config_dir, findings)
    if plant is not None:
        check_protocol_names(plant, findings)
        for protocol in PROTOCOLS:
            for settings in compile_devices(plant, protocol, findings):
                if isinstance(settings, HasGroups):
                    plans += [group.plan for group in settings.groups]
    return plans, folded([each for each in findings if not isinstance(each, Caution)])


def command() -> None:
    """Answer what the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m collectors.plans", description=__doc__)
    places = Places.parse(parser)
    plans, findings = compiled_plans(places.config_dir)
    told = Compiled(plans=[plan.encoded for plan in plans], findings=findings)
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")


if __name__ == "__main__":
    command()
