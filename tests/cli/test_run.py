"""``llm-observe run`` with real programs: observed, and otherwise as they were."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_observe.testing import OTLPSink
from tests.programs import CALL, LONG_S, MODEL, RUN, World, servers

PROBE = """
import json, os, signal, sys
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "environ": dict(os.environ), "executable": sys.executable,
    "flags": list(sys.flags), "site": getattr(sys.modules.get("sitecustomize"), "__file__", None),
    "signals": {s.name: str(signal.getsignal(s)) for s in signal.valid_signals() if hasattr(s, "name")},
}))
"""
OURS = str(Path("llm_observe", "autoload", "sitecustomize.py"))


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[str, OTLPSink, str]]:
    with servers() as made:
        yield made


@pytest.fixture
def place(both: tuple[str, OTLPSink, str], tmp_path: Path) -> World:
    replicate, sink, otlp = both
    sink.clear()
    return World(tmp_path, replicate, sink, otlp)


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("llm-observe: ")]


class TestAProgramThatWasNotEdited:
    def test_is_observed_and_says_what_it_says(self, place: World) -> None:
        place.write("shop.py", CALL)
        done = place.run("python", "shop.py")
        assert (done.returncode, done.stdout, done.stderr) == (0, "Hello you.\n", "")
        assert place.services() == ["shop"]

    def test_may_be_named_and_given_settings(self, place: World) -> None:
        place.write("shop.py", CALL)
        place.write("settings.yaml", "capture:\n  level: full\n")
        given = ("--service-name", "web", "--settings", "settings.yaml")
        assert place.run(*given, "python", "shop.py").returncode == 0
        assert place.services() == ["web"]
        assert place.sink.holds("the-launch-code")

    def test_shows_no_prompt_unless_it_is_told_to(self, place: World) -> None:
        place.write("shop.py", CALL)
        assert place.run("python", "shop.py").returncode == 0
        assert not place.sink.holds("the-launch-code")

    def test_may_be_a_module(self, place: World) -> None:
        place.write("pkg/__init__.py", "")
        place.write("pkg/worker.py", f"import sys\n{CALL}\nprint(sys.argv[1:], __name__)")
        done = place.run("-m", "pkg.worker", "--help", "-m")
        assert done.stdout.splitlines()[-1] == "['--help', '-m'] __main__"
        assert place.services() == ["worker"]

    def test_may_be_an_executable_script(self, place: World) -> None:
        place.write("tool", f"#!{sys.executable}\n{CALL}").chmod(0o755)
        done = place.run("./tool")
        assert (done.returncode, done.stderr) == (0, "")
        assert place.services() == ["tool"]

    def test_may_be_started_by_a_shell_script(self, place: World) -> None:
        place.write("shop.py", CALL)
        place.write("start.sh", "#!/bin/sh\nexec python shop.py\n").chmod(0o755)
        done = place.run("./start.sh")
        (line,) = lines(done.stderr)
        assert "no Python program" in line
        assert place.services() == ["shop"]

    def test_is_served_by_uvicorn(self, place: World) -> None:
        place.write("web.py", f"""
import replicate
async def app(scope, receive, send):
    if scope["type"] == "http":
        text = "".join(map(str, replicate.run("{MODEL}", input={{"prompt": "hi"}})))
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": text.encode()}})
""")  # fmt: skip
        server = subprocess.Popen(
            [*RUN, "uvicorn", "--port", "0", "web:app"],
            cwd=place.folder, env=place.environ(), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert server.stderr is not None
            address = next(
                found for line in server.stderr if (found := re.search(r"http://\S+", line))
            )
            with urllib.request.urlopen(address[0], timeout=LONG_S) as answer:
                assert answer.read() == b"Hello you."
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=LONG_S)
        assert place.services() == ["uvicorn"]


class TestEverythingElseIsAsItWas:
    def seen(self, place: World, *argv: str, **environ: str) -> tuple[dict[str, object], ...]:
        place.write("probe.py", PROBE)
        runs = (place.plain(*argv, env=environ), place.run(*argv, env=environ))
        assert [done.stderr for done in runs] == ["", ""]
        first, second = (json.loads(done.stdout) for done in runs)
        return first, second

    @pytest.mark.parametrize("before", [None, "", "/somewhere", "::/a:"])
    def test_environment_paths_arguments_and_signals(
        self, place: World, before: str | None
    ) -> None:
        environ = {} if before is None else {"PYTHONPATH": before}
        without, within = self.seen(place, "python", "probe.py", "a", "--b", **environ)
        site = str(within.pop("site") or "")
        assert site.endswith(OURS) or site == without["site"]
        without.pop("site")
        assert within == without

    def test_the_sitecustomize_of_the_environment(self, place: World) -> None:
        own = place.write("site/sitecustomize.py", "import os; os.environ['SEEN'] = __name__")
        without, within = self.seen(place, "python", "probe.py", PYTHONPATH=str(own.parent))
        assert within == without
        assert within["site"] == str(own)

    def test_a_sitecustomize_that_fails(self, place: World) -> None:
        own = place.write("site/sitecustomize.py", "raise RuntimeError('broken')")
        place.write("shop.py", CALL)
        environ = {"PYTHONPATH": str(own.parent)}
        without = place.plain("python", "shop.py", env=environ)
        within = place.run("python", "shop.py", env=environ)
        assert "broken" in without.stderr
        assert within.stderr == without.stderr * 2  # the command itself is a Python program too
        assert place.services() == ["shop"]

    def test_the_process_itself(self, place: World) -> None:
        program = subprocess.Popen(
            [*RUN, "python", "-c", "import os; print(os.getpid(), os.getppid())"],
            cwd=place.folder, env=place.environ(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        out, _ = program.communicate(timeout=LONG_S)
        assert out.split() == [str(program.pid), str(os.getpid())]

    @pytest.mark.parametrize("code", [0, 1, 7, 126])
    def test_exit_codes(self, place: World, code: int) -> None:
        assert place.run("python", "-c", f"raise SystemExit({code})").returncode == code

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGPIPE"])
    def test_death_by_a_signal(self, place: World, name: str) -> None:
        done = place.run("sh", "-c", f"kill -{name[3:]} $$")
        assert done.returncode == -getattr(signal, name)

    def test_standard_input(self, place: World) -> None:
        done = place.run("python", "-c", "print(input()[::-1])", input="abc\n")
        assert done.stdout == "cba\n"

    def test_the_terminal(self, place: World) -> None:
        ours, theirs = pty.openpty()
        code = "import os; print(os.isatty(0), os.isatty(1), os.ttyname(0))"
        done = place.run(
            "python", "-c", code, stdin=theirs, stdout=theirs, stderr=theirs, capture_output=False
        )
        assert done.returncode == 0
        assert os.read(ours, 1000).decode().split() == ["True", "True", os.ttyname(theirs)]
        os.close(ours)
        os.close(theirs)


class TestChildren:
    PARENT = """
import os, subprocess, sys
print(os.environ.get("PYTHONPATH"), os.environ.get("LLM_OBSERVE_RUN"))
sys.exit(subprocess.run([sys.executable, "child.py"]).returncode)
"""

    def test_inherit_nothing(self, place: World) -> None:
        place.write("child.py", CALL)
        place.write("parent.py", self.PARENT)
        done = place.run("python", "parent.py")
        assert sorted(done.stdout.splitlines()) == ["Hello you.", "None None"]
        assert place.services() == []

    def test_are_observed_if_they_are_followed(self, place: World) -> None:
        place.write("child.py", CALL)
        place.write("parent.py", self.PARENT)
        assert place.run("--follow-children", "python", "parent.py").returncode == 0
        assert place.services() == ["child"]

    def test_of_multiprocessing_bear_the_programs_name(self, place: World) -> None:
        place.write("work.py", f"""
import multiprocessing
def work():
    {CALL.strip().replace(chr(10), chr(10) + "    ")}
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
    raise SystemExit(process.exitcode)
""")  # fmt: skip
        done = place.run("--follow-children", "python", "work.py")
        assert (done.returncode, done.stderr) == (0, "")
        assert place.services() == ["work"]

    def test_that_are_forked_are_the_same_program(self, place: World) -> None:
        call = CALL.strip().replace("\n", "\n    ")
        place.write("forks.py", f"""
import os, sys
if pid := os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
else:
    {call}
""")  # fmt: skip
        assert place.run("python", "forks.py").returncode == 0
        assert place.services() == ["forks"]

    def test_a_launcher_that_becomes_the_program_is_no_parent(self, place: World) -> None:
        place.write("shop.py", CALL)
        place.write("launch.py", "import os, sys; os.execvp('python', ['python', *sys.argv[1:]])")
        done = place.run("python", "launch.py", "shop.py", env={"PYTHONPATH": "/kept"})
        assert (done.returncode, done.stderr) == (0, "")
        assert place.services() == ["shop"]
        place.write("probe.py", PROBE)
        probe = json.loads(
            place.run("python", "launch.py", "probe.py", env={"PYTHONPATH": "/kept"}).stdout
        )
        assert probe["environ"]["PYTHONPATH"] == "/kept"
        assert "LLM_OBSERVE_RUN" not in probe["environ"]


class TestAProgramThatObservesItself:
    def test_wins_and_takes_what_it_leaves_open(self, place: World) -> None:
        place.write("settings.yaml", "capture:\n  level: 'off'\nsampling:\n  ratio: 1.0\n")
        place.write("shop.py", f"""
import llm_observe
handle = llm_observe.observe("own", settings={{"capture": {{"level": "redacted"}}}})
{CALL}
print(handle.status().settings["capture"]["level"], handle.status().link.server)
""")  # fmt: skip
        done = place.run(
            "--service-name", "given", "--server", "http://127.0.0.1:9", "--settings", "settings.yaml",
            "python", "shop.py",
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == "redacted http://127.0.0.1:9"
        assert "ignored" not in done.stderr
        assert place.services() == ["own"]

    def test_that_says_nothing_gets_what_was_given(self, place: World) -> None:
        place.write("shop.py", f"import llm_observe; llm_observe.observe(){CALL}")
        done = place.run("--service-name", "given", "python", "shop.py")
        assert done.stderr == ""
        assert place.services() == ["given"]


def test_of_one_run_inside_another_the_inner_one_counts(place: World) -> None:
    place.write("shop.py", CALL)
    done = place.run(
        "--service-name", "outer", *RUN, "--service-name", "inner", "python", "shop.py"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello you.\n", "")
    assert place.services() == ["inner"]


class TestAProgramThatCannotBeObserved:
    @pytest.mark.parametrize("flag", ["-S", "-I", "-E"])
    def test_runs_all_the_same_with_one_line(self, place: World, flag: str) -> None:
        done = place.run("python", flag, "-c", "print(42)")
        assert (done.returncode, done.stdout) == (0, "42\n")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"llm-observe: python {flag} ")

    @pytest.mark.parametrize(("options", "observed"), [((), 0), (("--follow-children",), 1)])
    def test_is_no_reason_to_observe_its_children_unasked(
        self, place: World, options: tuple[str, ...], observed: int
    ) -> None:
        place.write("shop.py", CALL)
        program = "import subprocess, sys; subprocess.run([sys.executable, 'shop.py'])"
        done = place.run(*options, "python", "-I", "-c", program)
        assert done.stdout == "Hello you.\n"
        assert len(place.services()) == observed

    @pytest.fixture
    def bare(self, tmp_path: Path) -> Path:
        """An environment without packages."""
        done = subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"])
        assert done.returncode == 0
        return tmp_path / "bare"

    def test_because_the_package_is_not_there(self, place: World, bare: Path) -> None:
        done = place.run(str(bare / "bin" / "python"), "-c", "print(42)")
        assert (done.returncode, done.stdout) == (0, "42\n")
        (line,) = done.stderr.splitlines()
        assert "the package llm-observe is not installed for " in line
        assert str(bare) in line

    def test_because_a_library_of_ours_is_not_there(self, place: World, bare: Path) -> None:
        (site,) = bare.glob("lib/python*/site-packages")
        (site / "ours.pth").write_text(str(Path(__file__).parents[2]))
        done = place.run(str(bare / "bin" / "python"), "-c", "print(42)")
        assert (done.returncode, done.stdout) == (0, "42\n")
        (line,) = done.stderr.splitlines()
        assert "the package opentelemetry is not installed for " in line

    @pytest.mark.parametrize("version", ["2.7", "3.6", "3.8", "3.10"])
    def test_because_its_python_is_too_old(self, place: World, version: str) -> None:
        installed = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
        found = [*map(str, installed), shutil.which(f"python{version}") or ""]
        if not found[0]:
            pytest.skip(f"no Python {version} here")
        clean = {"PYTHONDONTWRITEBYTECODE": "1"}  # 2.7 compiles into the folder itself
        done = place.run(found[0], "-c", "print(42)", env=clean)
        assert (done.returncode, done.stdout) == (0, "42\n")
        (line,) = done.stderr.splitlines()
        assert f"it runs on Python {version}, and 3.11 or newer is needed" in line

    def test_because_it_is_no_python(self, place: World) -> None:
        done = place.run("echo", "42")
        assert (done.returncode, done.stdout) == (0, "42\n")
        (line,) = done.stderr.splitlines()
        assert "echo is no Python program" in line

    def test_or_not_for_a_reason_of_ours(self, place: World) -> None:
        done = place.run("python", "-c", "print(42)", env={"LLM_OBSERVE_STATE_DIR": "/proc/no"})
        assert (done.returncode, done.stdout) == (0, "42\n")

    def test_while_the_control_plane_is_away(self, place: World) -> None:
        place.write("shop.py", CALL)
        done = place.run("--server", "http://127.0.0.1:9", "python", "shop.py")
        assert (done.returncode, done.stdout) == (0, "Hello you.\n")


class TestErrors:
    @pytest.mark.parametrize(
        ("argv", "code", "words"),
        [
            ((), 64, "which program"),
            (("--follow-children",), 64, "which program"),
            (("--nonsense", "python"), 64, "--nonsense"),
            (("no-such-program",), 127, "no-such-program: not found"),
            (("./no/such/file",), 127, "not found"),
            (("/",), 126, "not executable"),
            (("--server", "localhost:4320", "python"), 1, "found 'localhost:4320'"),
            (("--server", "http://a:b@c", "python"), 1, "LLM_OBSERVE_TOKEN"),
            (("--settings", "none.yaml", "python"), 64, "none.yaml"),
        ],
    )
    def test_are_one_sentence(
        self, place: World, argv: tuple[str, ...], code: int, words: str
    ) -> None:
        done = place.run(*argv)
        assert done.returncode == code
        (line,) = done.stderr.splitlines()
        assert line.startswith("llm-observe: ")
        assert words in line

    def test_a_file_that_is_no_program_comes_with_a_hint(self, place: World) -> None:
        place.write("app.py", "")
        for name in ("app.py", "./app.py"):
            done = place.run(name)
            assert done.returncode == 126
            assert f"Did you mean: llm-observe run python {name}" in done.stderr

    def test_a_program_that_the_system_cannot_start(self, place: World) -> None:
        place.write("junk", "\x00\x01").chmod(0o755)
        assert place.run("./junk").returncode == 126
        place.write("lost", "#!/no/such/interpreter\n").chmod(0o755)
        assert place.run("./lost").returncode == 127

    def test_wrong_settings_name_every_wrong_key(self, place: World) -> None:
        place.write("settings.yaml", "sampling: {ratio: 7}\nnonsense: 1\n")
        done = place.run("--settings", "settings.yaml", "python", "-c", "print(42)")
        assert (done.returncode, done.stdout) == (1, "")
        assert "sampling.ratio" in done.stderr
        assert "nonsense" in done.stderr


def test_neither_typer_nor_rich_is_loaded() -> None:
    code = (
        "import os, sys; from llm_observe.cli import start\n"
        "os.execve = lambda *a: print(sorted({'typer', 'rich', 'click', 'pydantic', 'opentelemetry'} & {*sys.modules}))\n"
        "start.main(['run', 'python', 'x.py'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_the_token_stays_where_it_is(place: World) -> None:
    program = subprocess.Popen(
        [*RUN, "python", "-c", "input()"], cwd=place.folder, stdin=subprocess.PIPE,
        env=place.environ(LLM_OBSERVE_TOKEN="ingest-secret"),
    )  # fmt: skip
    command = Path(f"/proc/{program.pid}/cmdline")
    until = time.monotonic() + LONG_S
    while (
        command.exists()
        and b"input()" not in command.read_bytes()[:40]
        and time.monotonic() < until
    ):
        time.sleep(0.01)
    assert b"ingest-secret" not in (command.read_bytes() if command.exists() else b"")
    program.communicate(b"\n", timeout=LONG_S)
    assert program.returncode == 0
