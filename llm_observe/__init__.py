"""Remote control for LLM tracing."""

__version__ = "0.1.0"
