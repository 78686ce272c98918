"""S7-1200 and S7-1500 by symbol, over S7CommPlus in TLS: experimental, optional, read-only."""
