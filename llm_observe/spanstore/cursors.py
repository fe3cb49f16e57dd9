"""Cursors: where a page ended, as an opaque text. Stable under inserts: a position, no offset."""

from __future__ import annotations

import base64
import binascii

from llm_observe.errors import StoreError

_MAX_BYTES = 8 + 4 * 512  # a time and the longest session id


def encode(time_ns: int, tie: bytes) -> str:
    """A position in an order by time, then ``tie``, both descending."""
    return base64.urlsafe_b64encode(time_ns.to_bytes(8, "big", signed=True) + tie).decode()


def decode(cursor: str | None) -> tuple[int, bytes] | None:
    """The reverse of `encode`; None stays None.

    Raises:
        StoreError: Not one of ours.
    """
    if cursor is None:
        return None
    try:
        data = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise StoreError("this cursor was not given out here") from error
    if not 9 <= len(data) <= _MAX_BYTES:
        raise StoreError("this cursor was not given out here")
    return int.from_bytes(data[:8], "big", signed=True), data[8:]
