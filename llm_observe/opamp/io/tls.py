"""TLS settings of an offer as an `ssl.SSLContext` (OpAMP, "TLSConnectionSettings")."""

from __future__ import annotations

import re
import ssl

from llm_observe.opamp.connections import TLSSettings

_VERSIONS = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_SUITE = re.compile(r"TLS_([A-Z0-9_]+)_WITH_([A-Z0-9_]+)")


def make_context(tls: TLSSettings) -> ssl.SSLContext:
    """The context for a client. Raises `ValueError` with a sentence for what cannot be done.

    Without authorities in the settings the platform's count: an empty trust store would let
    nobody in, and none at all would let everybody in.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _version(tls.min_version) or ssl.TLSVersion.TLSv1_2
    highest = _version(tls.max_version)
    if highest is not None:
        if highest < context.minimum_version:
            raise ValueError("the highest TLS version is below the lowest")
        context.maximum_version = highest
    _trust(context, tls)
    _limit_suites(context, tls.cipher_suites)
    if tls.insecure_skip_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _version(text: str) -> ssl.TLSVersion | None:
    number = text.strip().lower().removeprefix("tls").removeprefix("v")
    if not number:
        return None
    if number not in _VERSIONS:
        raise ValueError("the TLS version must be 1.2 or 1.3")
    return _VERSIONS[number]


def _trust(context: ssl.SSLContext, tls: TLSSettings) -> None:
    if tls.ca_pem:
        try:
            context.load_verify_locations(cadata=tls.ca_pem)
        except (ssl.SSLError, ValueError):  # its text may quote the bytes
            raise ValueError("the authorities are no PEM certificates") from None
    if tls.include_system_pool or not tls.ca_pem:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)


def _limit_suites(context: ssl.SSLContext, suites: tuple[str, ...]) -> None:
    """TLS 1.3 chooses by itself; its suites are no names for what comes before."""
    older = [suite for suite in suites if "_WITH_" in suite]
    if not older:
        return
    try:
        context.set_ciphers(":".join(openssl_name(suite) for suite in older))
    except ssl.SSLError:
        raise ValueError("none of the cipher suites is available") from None


def openssl_name(suite: str) -> str:
    """``TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`` as OpenSSL spells it. Raises `ValueError`."""
    found = _SUITE.fullmatch(suite)
    if found is None:
        raise ValueError(f"no name of a cipher suite: {suite[:60]!r}")
    exchange = "" if found[1] == "RSA" else found[1].replace("_", "-") + "-"
    cipher = found[2].replace("AES_128", "AES128").replace("AES_256", "AES256")
    cipher = cipher.replace("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305")
    return exchange + cipher.replace("_CBC_", "_").replace("_", "-")
