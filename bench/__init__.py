"""One module per question; each prints figures, and docs/performance.md keeps them with date."""
