"""The control plane's web pages: server-rendered, escaped, live through htmx."""
