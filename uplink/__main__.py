"""`python -m uplink TARGET`: drain the queue to one target. `--check`: only read it/cloud.toml."""

import argparse
import sys

from common.config import print_findings
from common.configured import Configured, gateway_part, write_configured
from common.log import get_log
from common.places import Places, add_places, places_of
from common.process import Stopping, StopRequested, hold_role, main
from uplink.config import check_cloud, is_error, load_gateway
from uplink.newest import Newest
from uplink.registry import SESSION_KINDS, target_builder_of, wording_of
from uplink.report import Report
from uplink.runner import Uplink
from uplink.status import edge_path
from uplink.surroundings import Identity, Surroundings
from uplink.targets.mqtt_telling import worded_for
from uplink.waiting import wait_for_queue, wait_for_settings

log = get_log(__name__)


def drain_target(name: str, places: Places) -> None:
    """Wire the parts of one target and drain until told to stop."""
    process = f"uplink-{name}"
    stopping = Stopping()
    hold_role(places.run_dir, process)
    gateway = load_gateway(places.config_dir)
    write_configured(places.run_dir, Configured(process, {"gateway": gateway_part(gateway)}))
    report = Report(places.run_dir, process, name)
    edge = edge_path(gateway.root, gateway.id)
    try:
        settings = wait_for_settings(places.config_dir, name, gateway.id, stopping, report)
        reader, cursor = wait_for_queue(places.queue_dir, name, stopping, report)
    except StopRequested:
        return
    config = settings.config
    identity = Identity(gateway.id, reader.epoch, gateway.root, edge)
    wording = wording_of(config, identity)
    surroundings = Surroundings(
        identity,
        reader,
        cursor,
        Newest(),
        wording,
        report,
        tells_meta=config.meta == "tags" and config.payload not in SESSION_KINDS,
        publish_addresses=gateway.publish_addresses,
    )
    target = target_builder_of(config.kind, config.payload)(settings, surroundings)
    log.info("started", target=name, address=target.address)
    Uplink(
        config=config,
        target=target,
        wording=worded_for(wording, config),
        surroundings=surroundings,
        stopping=stopping,
        report=report,
    ).run()
    cursor.close()
    reader.close()


def command() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m uplink", description="Drain the queue to one target of it/cloud.toml."
    )
    parser.add_argument("target", nargs="?", help="its name: [targets.NAME]")
    parser.add_argument("--check", action="store_true", help="only say what is wrong with it/")
    parser.add_argument("--json", action="store_true", help="with --check: findings as JSON")
    add_places(parser)
    arguments = parser.parse_args()
    places, name = places_of(arguments), arguments.target
    if arguments.check:
        findings = check_cloud(places.config_dir)
        print_findings(findings, as_json=arguments.json)
        sys.exit(1 if any(map(is_error, findings)) else 0)
    if name is None:
        parser.error("name a target, or --check")
    main(f"uplink-{name}", lambda: drain_target(name, places))


if __name__ == "__main__":
    command()
