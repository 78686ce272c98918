"""The `tailrace` command: check, run, status, tap, queue, set-aside, demo."""
