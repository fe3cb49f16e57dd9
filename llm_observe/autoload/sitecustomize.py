"""The first thing that a Python program runs under ``llm-observe run``.

The interpreter imports this by its name, before the program (`site` in Python's library). It
leaves everything as the program would have found it without us: its environment variables, its
``sys.path``, and the ``sitecustomize`` of its environment, which is run now. Then observation is
started, if it can be; if not, one line on stderr says why, and the program runs on.

It may be read by an interpreter of any version, which need not have this package: only the
oldest syntax (types stand in comments), and nothing from elsewhere.
"""

import importlib
import json
import os
import sys

VARIABLE = "LLM_OBSERVE_RUN"
HERE = os.path.dirname(os.path.abspath(__file__))
OLDEST = (3, 11)


def _say(reason):
    # type: (str) -> None
    if sys.stderr is not None:
        sys.stderr.write("llm-observe: this program is not observed: %s\n" % reason)


def _given():
    # type: () -> dict[str, object]
    try:
        given = json.loads(os.environ.get(VARIABLE, "null"))
    except ValueError:
        given = None
    return given if isinstance(given, dict) else {}


def _restore(given):
    # type: (dict[str, object]) -> None
    """The program sees the paths and variables that it would have seen without us."""
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != HERE]
    sys.path_importer_cache.pop(HERE, None)
    if given.get("follow"):
        return
    told = os.environ.pop(VARIABLE, None)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path != HERE]
    if paths or given.get("pythonpath") is not None:
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    else:
        os.environ.pop("PYTHONPATH", None)
    if given:
        _hand_on(told)


def _hand_on(told):
    # type: (object) -> None
    """To the program that a launcher puts in its own place (poetry run, opentelemetry-instrument).

    Only there: what runs in another process is a child, and inherits nothing.
    """
    me, replace = os.getpid(), os.execve

    def execve(path, argv, env):  # type: ignore[no-untyped-def]  # as in os
        if os.getpid() == me and VARIABLE not in env:  # else it is a ``run`` inside this one
            env = dict(env)
            paths = env.pop(b"PYTHONPATH", None) or env.get("PYTHONPATH")
            env["PYTHONPATH"] = HERE + os.pathsep + os.fsdecode(paths) if paths else HERE
            env[VARIABLE] = told
        return replace(path, argv, env)

    def execv(path, argv):  # type: ignore[no-untyped-def]  # as in os
        return execve(path, argv, os.environ)  # type: ignore[no-untyped-call]  # as above

    os.execve, os.execv = execve, execv


def _run_the_environments_own():
    # type: () -> None
    mine = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ImportError as error:
        if getattr(error, "name", "sitecustomize") != "sitecustomize":
            raise
        if mine is not None:
            sys.modules["sitecustomize"] = mine


def _start(given):
    # type: (dict[str, object]) -> None
    if sys.version_info < OLDEST:
        _say("it runs on Python %d.%d, and 3.11 or newer is needed" % sys.version_info[:2])
        return
    try:
        importlib.import_module("llm_observe.agent.autostart").start(given)
    except ModuleNotFoundError as error:
        _say(_missing(error.name or "llm_observe"))
    except Exception as error:  # noqa: BLE001  # whatever it is, the program runs on
        _say("%s: %s" % (type(error).__name__, error))


def _missing(module):
    # type: (str) -> str
    package = module.partition(".")[0].replace("_", "-")
    if module.startswith("llm_observe."):
        return "the %s that is installed for %s is of another version" % (package, sys.executable)
    return "the package %s is not installed for %s" % (package, sys.executable)


def _main():
    # type: () -> None
    given = _given()
    _restore(given)
    try:
        _run_the_environments_own()
    finally:
        if given:
            _start(given)


_main()
