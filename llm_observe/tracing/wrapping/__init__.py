"""Client libraries wrapped: one call seen from its start to its end, the app untouched."""
