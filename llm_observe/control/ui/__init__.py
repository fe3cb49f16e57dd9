"""The control plane's web pages: server-rendered, escaped, live through htmx."""

from llm_observe.control.ui.table import routes

__all__ = ["routes"]
