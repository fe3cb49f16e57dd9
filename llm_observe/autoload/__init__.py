"""What ``llm-observe run`` puts on PYTHONPATH: a folder with a ``sitecustomize`` and no more."""
