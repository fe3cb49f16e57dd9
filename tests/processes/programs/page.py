"""A Streamlit page that asks once per run, and observes as the docs say: at the top, every time."""

from __future__ import annotations

import streamlit

import llm_observe
from tests.processes.programs.work import ask

llm_observe.observe()
ask(1)
streamlit.write("done")
