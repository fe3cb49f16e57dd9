"""Test doubles that speak the real protocols: public, for users' tests as well as ours."""
