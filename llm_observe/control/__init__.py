"""The control plane: OpAMP endpoint, REST, pages, OTLP intake."""
