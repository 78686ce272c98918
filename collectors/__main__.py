"""`python -m collectors PROTOCOL`: read every device of one protocol. `--check`: read none."""

import argparse
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec

from collectors.check import check_plant, check_protocol_names, compile_devices
from collectors.configured import configured_now, configured_of, process_of
from collectors.registry import PROTOCOLS, builder_of
from collectors.runner import DeviceState, collect
from collectors.timing import GatewayClock, Timing
from common.config import print_findings
from common.configured import write_configured
from common.errors import Caution, ConfigError, Finding
from common.handoff import HandoffSender, handoff_address
from common.log import get_log
from common.outbox import Outbox
from common.places import Places, add_places, places_of
from common.plant import load_plant
from common.process import hold_role, main

log = get_log(__name__)


def read_devices(protocol: str, places: Places) -> Coroutine[Any, Any, None]:
    """Build the process from its configuration; devices are met once the result is awaited."""
    process = process_of(protocol)
    hold_role(places.run_dir, process)
    plant = load_plant(places.config_dir, places.data_dir)
    findings: list[Finding] = []
    check_protocol_names(plant, findings)
    compiled = compile_devices(plant, protocol, findings)
    if findings:
        raise ConfigError(findings)
    build = builder_of(protocol) if compiled else None
    write_configured(places.run_dir, configured_of(plant, protocol, compiled))
    clock = GatewayClock(marked=plant.gateway.clock == "mark")
    devices = [
        DeviceState(build(settings), Timing(device.source_time, clock))
        for device, settings in zip(plant.devices_of(protocol), compiled, strict=True)
        if build
    ]
    if devices:
        log.info("started", devices=len(devices))
    else:
        log.info("started, but no device speaks this protocol; idle", protocol=protocol)
    outbox = Outbox.open(places.run_dir / "outbox", process)
    sender = HandoffSender(
        address=handoff_address(places.run_dir),
        collector=process,
        outbox=outbox,
        plans=[plan for device in devices for plan in device.collector.plans],
    )
    return collect(devices, sender, outbox, places.run_dir, process)


def command() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m collectors",
        description="Read every device of one protocol and hand its scans to the normalizer.",
    )
    parser.add_argument("protocol", nargs="?", choices=list(PROTOCOLS))
    parser.add_argument("--check", action="store_true", help="only say what is wrong with ot/")
    parser.add_argument("--json", action="store_true", help="with --check: findings as JSON")
    parser.add_argument("--configured", action="store_true", help="for `tailrace reload`")
    add_places(parser)
    arguments = parser.parse_args()
    places, protocol = places_of(arguments), arguments.protocol
    if arguments.configured:
        sys.stdout.buffer.write(msgspec.json.encode(configured_now(places.config_dir)))
        return
    if arguments.check:
        findings = check_plant(places.config_dir)
        print_findings(findings, as_json=arguments.json)
        sys.exit(0 if all(isinstance(each, Caution) for each in findings) else 1)
    if protocol is None:
        parser.error(f"name a protocol ({', '.join(PROTOCOLS)}), or --check")
    main(process_of(protocol), lambda: read_devices(protocol, places))


if __name__ == "__main__":
    command()
