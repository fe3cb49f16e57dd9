"""The first thing that a Python program runs under ``llm-observe run``.

The interpreter imports this by its name, before the program (`site` in Python's library). It
leaves everything as the program would have found it without us: its environment variables, its
``sys.path``, and the ``sitecustomize`` of its environment, which is run now. Then observation is
started, if it can be; if not, one line on stderr says why, and the program runs on.

It may be read by an interpreter of any version, which need not have this package: only the
oldest syntax, and nothing from elsewhere.
"""

import importlib
import json
import os
import sys

VARIABLE = "LLM_OBSERVE_RUN"
HERE = os.path.dirname(os.path.abspath(__file__))
OLDEST = (3, 11)


def _say(reason: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write("llm-observe: this program is not observed: %s\n" % reason)


def _given() -> dict:  # type: ignore[type-arg]  # read by interpreters that know no dict[str, …]
    try:
        given = json.loads(os.environ.get(VARIABLE, "null"))
    except ValueError:
        given = None
    return given if isinstance(given, dict) else {}


def _restore(given: dict) -> None:  # type: ignore[type-arg]  # as above
    """The program sees the paths and variables that it would have seen without us."""
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != HERE]
    sys.path_importer_cache.pop(HERE, None)
    if given.get("follow"):
        return
    os.environ.pop(VARIABLE, None)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path != HERE]
    if paths or given.get("pythonpath") is not None:
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    else:
        os.environ.pop("PYTHONPATH", None)


def _run_the_environments_own() -> None:
    mine = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ImportError as error:
        if getattr(error, "name", "sitecustomize") != "sitecustomize":
            raise
        if mine is not None:
            sys.modules["sitecustomize"] = mine


def _start(given: dict) -> None:  # type: ignore[type-arg]  # as above
    if sys.version_info < OLDEST:
        _say("it runs on Python %d.%d, and 3.11 or newer is needed" % sys.version_info[:2])
        return
    try:
        importlib.import_module("llm_observe.agent.autostart").start(given)
    except ImportError as error:
        package = (getattr(error, "name", None) or "llm-observe").partition(".")[0]
        package = package.replace("llm_observe", "llm-observe")
        _say("the package %s is not installed for %s" % (package, sys.executable))
    except Exception as error:  # noqa: BLE001  # whatever it is, the program runs on
        _say("%s: %s" % (type(error).__name__, error))


def _main() -> None:
    given = _given()
    _restore(given)
    try:
        _run_the_environments_own()
    finally:
        if given:
            _start(given)


_main()
