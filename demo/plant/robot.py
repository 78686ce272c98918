"""The robot: an OPC UA server without security, namespace `urn:tailrace:demo:robot`.

node id (in that namespace)   type     meaning
s=Robot.Joint1                Double   angle of joint 1, deg
s=Robot.Joint2                Double   angle of joint 2, deg
s=Robot.Program               String   state of the program: RUNNING or HOLD
s=Robot.Cycles                Int64    cycles: +1 every `count_every_ms`
s=Robot.MotorTemperature      Double   hottest motor, Cel
"""

import asyncio

from asyncua import ua
from asyncua.common.node import Node
from asyncua.server.server import Server

from demo.children import LOOPBACK, free_port
from demo.plant.pace import announce, counts, moments, wave

NAMESPACE = "urn:tailrace:demo:robot"
RUNS_S, CYCLE_S = 25.0, 30.0
"""The program holds for the last five seconds of every half minute."""


async def serve(port: int, count_every_ms: int) -> None:
    """Serve until cancelled; `port` 0 takes any free one."""
    port = port or free_port()  # The endpoint's address names it, so it must be known first.
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://{LOOPBACK}:{port}/")
    server.set_server_name("Robot")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    server.set_identity_tokens([ua.AnonymousIdentityToken])
    nodes = await _nodes(server, await server.register_namespace(NAMESPACE))
    async with server:
        announce(port)
        async with asyncio.TaskGroup() as machine:
            machine.create_task(_count(nodes["Cycles"], count_every_ms))
            machine.create_task(_move(nodes))


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
