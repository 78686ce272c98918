"""Values without a device: to try Tailrace, to test it, and to copy for a new protocol."""
