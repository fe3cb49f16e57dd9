"""What every test stands on, whatever started pytest."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

_SIGNALS: dict[signal.Signals, Any] = {
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}


@pytest.fixture(autouse=True, scope="session")
def told_of_signals() -> Iterator[None]:
    """Programs inherit what is ignored: SIGHUP under `nohup`, SIGINT behind a shell's ``&``."""
    before = {number: signal.signal(number, ours) for number, ours in _SIGNALS.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each HTTP client reads all usual authorities, though nothing here is reached by them.

    That takes longer than most calls that are made with it.
    """
    file = tmp_path_factory.mktemp("authorities") / "one.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was loaded so far stays: the collector need not look at it for each test anew."""
    gc.collect()
    gc.freeze()
