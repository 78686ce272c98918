"""Sparkplug B 3.0: one gateway as an edge node, its assets as devices (docs/sparkplug.md)."""
