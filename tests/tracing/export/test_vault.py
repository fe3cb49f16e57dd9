"""Secrets of offered destinations: named by a short hash, read where a request is made."""

from __future__ import annotations

import pytest

from llm_observe.errors import SettingsError
from llm_observe.settings.model import Destination
from llm_observe.settings.schema import validate
from llm_observe.tracing.export import headers, vault
from llm_observe.tracing.export.faults import KeyFault

SECRET = "Bearer s3cr3t"


def test_a_secret_is_read_by_its_name_while_it_is_held() -> None:
    reference = vault.reference(SECRET)
    destination = Destination(headers={"Authorization": reference})
    vault.hold([SECRET, "another"])
    assert headers.resolve(destination, {}) == {"authorization": SECRET}
    vault.hold(["another"])
    with pytest.raises(KeyFault, match="unusable value"):
        headers.resolve(destination, {})


def test_a_name_tells_secrets_apart_and_none_of_them() -> None:
    assert vault.reference(SECRET) != vault.reference("another")
    assert SECRET not in vault.reference(SECRET)
    assert len(vault.reference("x" * 1000)) == len("offer:12345678")


def test_settings_cannot_name_one() -> None:
    fragment = {
        "destinations": {"a": {"endpoint": "http://a", "headers": {"x": vault.reference(SECRET)}}}
    }
    with pytest.raises(SettingsError):
        validate(fragment)
