"""``python -m chatbot_app [--port 8501]``: serve the chatbot."""

from __future__ import annotations

import argparse

from streamlit.web.cli import main as streamlit

from chatbot_app import observed
from chatbot_app.launch import streamlit_arguments


def main() -> None:
    """Observe from the start, so that the process is known before its page is opened."""
    parser = argparse.ArgumentParser(prog="python -m chatbot_app", description="Llama 2 chatbot.")
    parser.add_argument("--port", type=int, default=8501, help="default: %(default)s")
    arguments = streamlit_arguments(parser.parse_args().port)
    observed.begin()
    streamlit(arguments, prog_name="streamlit")


if __name__ == "__main__":
    main()
