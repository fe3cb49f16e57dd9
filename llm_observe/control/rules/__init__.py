"""The rules of the control plane: value to value, no database, no web, no clock."""
