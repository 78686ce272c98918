"""A simulated stamping line, a broker and a watcher: what `tailrace demo` and the tests meet."""
