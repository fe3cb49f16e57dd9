"""Spans at rest: decoding, the embedded store, queries."""
