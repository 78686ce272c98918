"""Drains the queue outward: one process per target, at least once, never out of its own order."""
