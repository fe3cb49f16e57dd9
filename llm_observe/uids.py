"""Instance uids: UUIDv7, which OpAMP recommends ("AgentToServer.instance_uid")."""

from __future__ import annotations

import secrets
import time
import uuid


def new_uid() -> bytes:
    """A new UUIDv7 (RFC 9562): 48 bits of milliseconds, the rest random."""
    milliseconds = time.time_ns() // 1_000_000 & (1 << 48) - 1
    number = milliseconds << 80 | secrets.randbits(80)
    number = number & ~(0xF << 76) | 0x7 << 76  # the version
    number = number & ~(0x3 << 62) | 0x2 << 62  # the variant
    return number.to_bytes(16, "big")


def uid_text(uid: bytes) -> str:
    """The canonical spelling, as in the header ``OpAMP-Instance-UID``."""
    return str(uuid.UUID(bytes=uid))


def uid_from_text(text: str) -> bytes:
    """The inverse of `uid_text`; empty for what is no UUID."""
    try:
        return uuid.UUID(text.strip()).bytes
    except ValueError:
        return b""
