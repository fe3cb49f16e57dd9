"""Pure rules: what is captured, redacted, sampled. Value to value; no I/O, no clock."""
