"""The REST of the control plane, below ``/api/v1``: FastAPI over `llm_observe.control.service`."""
