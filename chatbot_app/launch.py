"""How the chatbot is started: Streamlit with the options that this page wants.

They are flags, so that no file has to be found in the working folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).with_name("app.py")

_OPTIONS = {
    "server.address": "127.0.0.1",
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "theme.light.primaryColor": "#206bc4",
    "theme.dark.primaryColor": "#4f9bea",
    "theme.baseRadius": "medium",
}


def command(port: int = 8501) -> list[str]:
    """The command that serves the chatbot."""
    return [sys.executable, "-m", "chatbot_app", "--port", str(port)]


def streamlit_arguments(port: int) -> list[str]:
    """What Streamlit is told: loopback only, no telemetry, no e-mail prompt."""
    options = [f"--{name}={value}" for name, value in _OPTIONS.items()]
    return ["run", str(PAGE), f"--server.port={port}", *options]
