"""``python -m chatbot_app [--port 8501]``: serve the chatbot."""

from __future__ import annotations

import argparse
import os
import sys

from chatbot_app.launch import command


def main() -> None:
    """Become Streamlit."""
    parser = argparse.ArgumentParser(prog="python -m chatbot_app", description="Llama 2 chatbot.")
    parser.add_argument("--port", type=int, default=8501, help="default: %(default)s")
    arguments = command(parser.parse_args().port)
    sys.stdout.flush()
    os.execv(arguments[0], arguments)  # noqa: S606  # no shell; our own interpreter


if __name__ == "__main__":
    main()
