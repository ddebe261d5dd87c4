"""How datasets lie on disk: one module per layout, each with `WANTED`, `matches` and `read`."""
