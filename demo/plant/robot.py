"""The robot: an OPC UA server without security, namespace `urn:tailrace:demo:robot`.

node id (in that namespace)   type     meaning
s=Robot.Joint1                Double   angle of joint 1, deg
s=Robot.Joint2                Double   angle of joint 2, deg
s=Robot.Program               String   state of the program: RUNNING or HOLD
s=Robot.Cycles                Int64    cycles: +1 every `count_every_ms`
s=Robot.MotorTemperature      Double   hottest motor, Cel

It can only be read: refusing.py.
"""

from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import SimpleRoleRuleset
from asyncua.server.server import Server
from asyncua.ua.object_ids import ObjectIdNames, ObjectIds

from demo.children import LOOPBACK, free_port
from demo.plant.pace import announce, counts, moments, wave
from demo.plant.refusing import Refusals

NAMESPACE = "urn:tailrace:demo:robot"
RUNS_S, CYCLE_S = 25.0, 30.0
"""The program holds for the last five seconds of every half minute."""


_ENCODING = "Request_Encoding_DefaultBinary"
_READS = frozenset(
    getattr(ObjectIds, service + _ENCODING)
    for service in (
        "Read", "HistoryRead", "Browse", "BrowseNext", "TranslateBrowsePathsToNodeIds",
        "RegisterNodes", "UnregisterNodes", "QueryFirst", "QueryNext", "Cancel",
        "CreateSubscription", "ModifySubscription", "SetPublishingMode", "Publish", "Republish",
        "TransferSubscriptions", "DeleteSubscriptions", "CreateMonitoredItems",
        "ModifyMonitoredItems", "SetMonitoringMode", "SetTriggering", "DeleteMonitoredItems",
        "CloseSecureChannel",
    )
)  # fmt: skip
"""Services that change nothing but the session's own subscriptions (OPC 10000-4, section 5)."""


class _OnlyReads(SimpleRoleRuleset):
    """Asked by the server for every service of an open session, those it does not know included."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._refusals = refusals

    def check_validity(self, _user: object, service: ua.NodeId, _body: object) -> bool:
        """Return whether the service may be used; otherwise it ends in BadUserAccessDenied."""
        number = service.Identifier
        if number in _READS:
            return True
        name = ObjectIdNames.get(number) if isinstance(number, int) else None
        self._refusals.note(f"OPC UA service {(name or str(number)).removesuffix(_ENCODING)}")
        return False


async def serve(port: int, count_every_ms: int) -> None:
    """Serve until cancelled; `port` 0 takes any free one. Raises WriteRefused."""
    port = port or free_port()  # The endpoint's address names it, so it must be known first.
    refusals = Refusals()
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://{LOOPBACK}:{port}/")
    server.set_server_name("Robot")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity], _OnlyReads(refusals))
    server.set_identity_tokens([ua.AnonymousIdentityToken])
    nodes = await _nodes(server, await server.register_namespace(NAMESPACE))
    async with server:
        announce(port)
        await refusals.live(_count(nodes["Cycles"], count_every_ms), _move(nodes))


async def _nodes(server: Server, namespace: int) -> dict[str, Node]:
    robot = await server.nodes.objects.add_object(
        _node_id("Robot", namespace), ua.QualifiedName("Robot", namespace)
    )
    first = {
        "Joint1": (0.0, ua.VariantType.Double),
        "Joint2": (0.0, ua.VariantType.Double),
        "Program": ("RUNNING", ua.VariantType.String),
        "Cycles": (0, ua.VariantType.Int64),
        "MotorTemperature": (40.0, ua.VariantType.Double),
    }
    return {
        name: await robot.add_variable(
            _node_id(f"Robot.{name}", namespace), ua.QualifiedName(name, namespace), value, kind
        )
        for name, (value, kind) in first.items()
    }


def _node_id(name: str, namespace: int) -> ua.NodeId:
    return ua.NodeId(ua.String(name), ua.Int16(namespace))


async def _count(node: Node, every_ms: int) -> None:
    async for count in counts(every_ms):
        await node.write_value(count, ua.VariantType.Int64)


async def _move(nodes: dict[str, Node]) -> None:
    async for elapsed_s in moments():
        running = elapsed_s % CYCLE_S < RUNS_S
        if running:
            await nodes["Joint1"].write_value(wave(elapsed_s, 0.0, 85.0, 8.0))
            await nodes["Joint2"].write_value(wave(elapsed_s, -30.0, 40.0, 6.0))
        await nodes["Program"].write_value("RUNNING" if running else "HOLD")
        await nodes["MotorTemperature"].write_value(wave(elapsed_s, 48.0, 3.0, 53.0))
