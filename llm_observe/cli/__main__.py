"""``python -m llm_observe.cli`` is the same program as ``llm-observe``."""

from __future__ import annotations

from llm_observe.cli.start import main

if __name__ == "__main__":
    main()
