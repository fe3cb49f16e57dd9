"""Which traces are recorded: decided at their root, live."""
