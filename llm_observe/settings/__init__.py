"""The settings document: model, layers, schema, environment."""
