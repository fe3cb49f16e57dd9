"""What taking personal data out of a span costs: ours beside Langfuse, Logfire and OpenInference.

    python benchmarks/redaction.py [--rounds 20] [--json FILE]

Finished spans of chats, all the same for all, go through what each runs before a span is exported;
nothing is sent. Microseconds of CPU per span, the best of several rounds, taken in turns.

Equal rules: 4 and 12 plain patterns, the same text for ours (RE2), Langfuse and Logfire (`re`); and
4, 12 and all of our detectors, for whose rows Langfuse's function gets each detector's own pattern
with its check digits, and Logfire the patterns alone, since it takes no more. What cannot be equal
is said by the last columns: how many finds of a span are left in it, and how much of its text.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from contenders import ROOT, Contender, environment

PEERS = Contender(
    "Redaction", "replicate", (f"-e{ROOT}[privacy]", "langfuse>=5", "logfire>=5"), "", ()
)
NAMES = ("ours", "Langfuse", "Logfire", "OpenInference")
RUN = Path(__file__).with_name("redacting.py")
MOST_ROUNDS = 200


def show(rows: list[dict[str, Any]]) -> None:
    """A table for texts without finds, one for texts with, and one of what is left of these."""
    for finds in (False, True):
        print(f"\n{'with' if finds else 'without'} finds, µs per span (as a multiple of ours)")
        print(f"{'':24}" + "".join(f"{name:>18}" for name in NAMES))
        for row in (each for each in rows if each["finds"] is finds):
            cells = "".join(f"{_cell(row, name):>18}" for name in NAMES)
            print(f"{row['size']:8}{row['rules']:16}{cells}")
    print("\nof a chat of 4 KB with finds: finds left in a span, text that is left")
    for row in (each for each in rows if each["finds"] and each["size"] == "4 KB"):
        cells = "".join(f"{row[name]['left']:>12} {row[name]['text']:>3} %" for name in NAMES)
        print(f"{'':8}{row['rules']:16}{cells}")


def _cell(row: dict[str, Any], name: str) -> str:
    value, base = row[name]["us"], row["ours"]["us"]
    return f"{value}" if name == "ours" else f"{value} ({value / base:.2f})"


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help=f"at most {MOST_ROUNDS}")
    parser.add_argument("--only", default="", help="rows whose size or rules have this in them")
    parser.add_argument("--renew", action="store_true", help="make the environment anew, newest")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    python = environment(PEERS, options.renew)
    rounds = str(min(max(1, options.rounds), MOST_ROUNDS))
    done = subprocess.run(
        [python, RUN, rounds, options.only], stdout=subprocess.PIPE, text=True, check=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    show(report["rows"])
    if options.json:
        written = json.dumps(report, indent=1, ensure_ascii=False)
        options.json.write_text(written + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
