"""One module per step; each is written once and never changed."""
