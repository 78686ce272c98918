"""OPC UA: subscriptions to the nodes of one server, one subscription per group."""
