"""The only sockets of the protocol: drivers around the sans-I/O core."""
