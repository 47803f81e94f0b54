"""A cloud node as it runs, plus orders.  Arguments: port, port for orders, port of gRPC, store URL.

There is no worker behind it, so its data-path probe is off.  Sessions hold their own key, ``room:bench`` and ``all``.
"""

import sys
from contextlib import AbstractContextManager

from bench.peers.orders import Orders
from cloud_node.delivery import Delivery
from cloud_node.server import Node
from cloud_node.settings import CloudSettings
from proto import log
from proto.message import RAW_OP, Message
from store.settings import StoreSettings

_NEVER_S = 86_400.0


class CloudPush:
    """Orders to a node: straight to its deliverer, on the hub's thread, where a gRPC call arrives too."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def send(self, key: str, body: bytes) -> None:
        """Deliver to the sessions of *key*."""
        self._node.deliverer.deliver(Delivery((key,), Message(RAW_OP, body)))

    def together(self) -> AbstractContextManager[object]:
        """Write once to each session, at the end."""
        return self._node.transport.batch()


def main() -> None:
    """Serve until a signal."""
    port, orders_port, grpc_port, store_url = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    settings = CloudSettings(
        socketio_port=port, grpc_port=grpc_port, broker_url=store_url, probe_every_s=_NEVER_S, drain_s=0
    )
    log.configure("cloud", level=settings.log_level)
    node = Node(settings, StoreSettings(redis_url=store_url, settle_s=0))
    Orders(CloudPush(node)).listen(orders_port)
    node.run()


main()
