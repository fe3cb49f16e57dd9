"""What figures were taken on, as it is written beside them."""

from __future__ import annotations

import os
import platform


def machine() -> dict[str, object]:
    """Interpreter, processors, and the load of whatever else ran here."""
    one, _, fifteen = os.getloadavg()
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_1_minute": round(one, 1),
        "load_15_minutes": round(fifteen, 1),
    }
