"""From an LLM call to an exported span."""
