"""A server of OPC UA whose every item changes at each period, however many there are.

The connection, its sessions and its subscriptions are asyncua's. Its way from a written value to a
publication is passed by: it takes a whole core for 10,000 changes a second, and the bench must not
measure its own simulator. The value of every item is the number of the period.
"""

import asyncio
import socket
import sys
import time
from datetime import UTC, datetime

from asyncua import Server, ua


async def main(period_s: float) -> None:
    """Serve until ended; print `ready PORT`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    service = server.iserver.subscription_service
    handles: dict[int, list[int]] = {}

    async def create(
        params: ua.CreateMonitoredItemsParameters,
    ) -> list[ua.MonitoredItemCreateResult]:
        asked = [item.RequestedParameters for item in params.ItemsToCreate]
        handles.setdefault(params.SubscriptionId, []).extend(each.ClientHandle for each in asked)
        return [
            ua.MonitoredItemCreateResult(
                MonitoredItemId=each.ClientHandle,
                RevisedSamplingInterval=each.SamplingInterval,
                RevisedQueueSize=each.QueueSize,
            )
            for each in asked
        ]

    service.create_monitored_items = create  # type: ignore[method-assign]
    await server.start()
    print(f"ready {port}", flush=True)
    start_s, tick = time.monotonic(), 0
    while True:
        tick += 1
        await asyncio.sleep(max(0.0, start_s + tick * period_s - time.monotonic()))
        now = datetime.now(UTC)
        number = ua.Variant(float(tick), ua.VariantType.Double)
        value = ua.DataValue(number, SourceTimestamp=now, ServerTimestamp=now)
        for subscription_id, items in handles.items():
            if subscription := service.subscriptions.get(subscription_id):
                waiting = subscription._triggered_datachanges  # noqa: SLF001 - see above
                for item in items:
                    news = ua.MonitoredItemNotification(item, value)
                    waiting.setdefault(item, []).append(news)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
