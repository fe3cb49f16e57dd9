"""OpAMP, usable on its own: nothing of LLMs, no OpenTelemetry."""
