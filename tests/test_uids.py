from __future__ import annotations

import uuid

import pytest

from llm_observe.uids import new_uid, uid_from_text, uid_text


@pytest.mark.opamp("U-02")
def test_a_new_uid_is_a_uuid_of_version_seven_in_the_order_of_time() -> None:
    made = [new_uid() for _ in range(50)]
    for uid in made:
        parsed = uuid.UUID(bytes=uid)
        assert (len(uid), parsed.version, parsed.variant) == (16, 7, uuid.RFC_4122)
    assert len(set(made)) == 50
    assert [uid[:6] for uid in made] == sorted(uid[:6] for uid in made)


def test_a_uid_survives_its_spelling() -> None:
    uid = new_uid()
    assert uid_from_text(f" {uid_text(uid)} ") == uid


@pytest.mark.parametrize("text", ["", "x", "01hx"])
def test_what_is_no_uuid_is_no_uid(text: str) -> None:
    assert uid_from_text(text) == b""
