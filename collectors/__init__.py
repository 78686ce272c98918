"""Collectors: one process per protocol; they only read, and hand scans to the normalizer."""
