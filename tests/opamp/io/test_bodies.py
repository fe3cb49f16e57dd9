from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.errors import MalformedMessage, MessageTooLarge, RemoteProtocolError
from llm_observe.opamp.io.bodies import Inflater, accepts_gzip, compress, media_type


def read(chunks: list[bytes], *, gzipped: bool, limit: int = 1000) -> bytes:
    inflater = Inflater(gzipped=gzipped, limit=limit)
    for chunk in chunks:
        inflater.feed(chunk)
    return inflater.finish()


@given(st.binary(max_size=500), st.integers(1, 50), st.booleans())
def test_a_body_survives_in_whatever_pieces_it_comes(body: bytes, size: int, gzipped: bool) -> None:
    data = compress(body) if gzipped else body
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert read(pieces, gzipped=gzipped) == body


@pytest.mark.parametrize("gzipped", [True, False])
def test_the_limit_holds_to_the_byte(gzipped: bool) -> None:
    def data(size: int) -> list[bytes]:
        return [compress(bytes(size)) if gzipped else bytes(size)]

    assert len(read(data(1000), gzipped=gzipped)) == 1000
    with pytest.raises(MessageTooLarge):
        read(data(1001), gzipped=gzipped)


def test_a_bomb_is_not_inflated_beyond_the_limit() -> None:
    inflater = Inflater(gzipped=True, limit=1000)
    with pytest.raises(MessageTooLarge) as caught:
        inflater.feed(gzip.compress(bytes(10_000_000)))
    assert caught.value.size == 1001


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        read([data], gzipped=True)
    except RemoteProtocolError:
        return


def test_what_follows_the_stream_is_malformed_in_the_same_chunk_or_the_next() -> None:
    whole = compress(b"body")
    for chunks in ([whole + b"x"], [whole, b"x"]):
        with pytest.raises(MalformedMessage, match="after the end"):
            read(chunks, gzipped=True)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP;Q=1", True),
        ("deflate, gzip;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip;q=nonsense", False),
        ("*;q=0.5", True),
        ("*, gzip;q=0", False),
        ("identity", False),
    ],
)
def test_accept_encoding_is_read_with_its_weights(header: str, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted


def test_a_media_type_is_read_without_its_parameters() -> None:
    assert media_type(" Text/Plain ; charset=utf-8") == "text/plain"
