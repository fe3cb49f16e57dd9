"""Destinations: a queue and a worker each, and what leaves through them."""
