"""The normalizer: receives scans, gives values their meaning, commits them, acknowledges."""
