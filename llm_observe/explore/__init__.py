"""Traces as data frames and plots, from a control plane or a file."""
