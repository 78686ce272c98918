"""The `tailrace` command: check, run, status, tap, set-aside, demo."""
