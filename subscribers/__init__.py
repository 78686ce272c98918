"""The IT side: what a consumer of the namespace needs. Never runs on the edge box."""
