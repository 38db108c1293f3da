"""What the cache costs and what it buys, measured on this machine."""
