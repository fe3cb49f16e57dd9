"""On a provider that is not ours: rendered at the end, switched where it can be."""
