"""Traces as data frames and plots, from a control plane or a file.

::

    from llm_observe import explore

    traces = explore.open("http://127.0.0.1:4320")
    traces.calls(model="llama-2-7b-chat")
"""

from llm_observe.explore.frames import Truncated
from llm_observe.explore.traces import Traces, open
from llm_observe.explore.views import Session, Trace

__all__ = ["Session", "Trace", "Traces", "Truncated", "open"]
