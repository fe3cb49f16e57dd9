"""All that is SQL."""
