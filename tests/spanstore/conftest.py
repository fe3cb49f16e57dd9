from tests.spanstore.build import store

__all__ = ["store"]
