"""The fixtures of the end-to-end tests: real peers deserve real programs."""

from tests.e2e.conftest import plane, replicate_url, start_app

__all__ = ["plane", "replicate_url", "start_app"]
