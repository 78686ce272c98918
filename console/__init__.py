"""The `tailrace` command: check, run, status, tap, demo."""
