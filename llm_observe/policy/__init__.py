"""Pure rules: what may leave, what is masked, which traces are kept. No clock, no I/O."""
