from __future__ import annotations

import ssl

import pytest
import trustme

from llm_observe.opamp.connections import TLSSettings
from llm_observe.opamp.io.tls import make_context, openssl_name


def test_without_anything_the_platform_is_trusted_and_names_are_checked() -> None:
    context = make_context(TLSSettings())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.opamp("S-03", "S-04")
def test_given_authorities_are_trusted_alone_or_with_the_platforms() -> None:
    pem = trustme.CA().cert_pem.bytes().decode()
    assert len(make_context(TLSSettings(pem)).get_ca_certs()) == 1
    both = make_context(TLSSettings(pem, include_system_pool=True))
    assert len(both.get_ca_certs()) >= 1


@pytest.mark.opamp("S-06")
@pytest.mark.parametrize("spelling", ["1.3", "TLSv1.3", "tls1.3", " v1.3 "])
def test_versions_are_taken_in_both_spellings(spelling: str) -> None:
    context = make_context(TLSSettings(min_version=spelling))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert make_context(TLSSettings(max_version="1.2")).maximum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    "tls",
    [
        TLSSettings("no pem"),
        TLSSettings(min_version="1.0"),
        TLSSettings(min_version="1.3", max_version="1.2"),
        TLSSettings(cipher_suites=("TLS_NO_WITH_SUCH_SUITE",)),
        TLSSettings(cipher_suites=("nonsense_WITH_",)),
    ],
)
def test_what_cannot_be_done_is_said(tls: TLSSettings) -> None:
    with pytest.raises(ValueError, match=r"TLS|PEM|cipher"):
        make_context(tls)


@pytest.mark.opamp("S-07")
@pytest.mark.parametrize(
    ("iana", "openssl"),
    [
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"),
    ],
)
def test_cipher_suites_are_named_as_openssl_names_them(iana: str, openssl: str) -> None:
    assert openssl_name(iana) == openssl
    suites = (iana, "TLS_AES_128_GCM_SHA256")  # the latter is TLS 1.3's own business
    assert openssl in {
        c["name"] for c in make_context(TLSSettings(cipher_suites=suites)).get_ciphers()
    }


@pytest.mark.opamp("S-05")
def test_verification_is_off_only_where_it_is_said() -> None:
    assert make_context(TLSSettings(insecure_skip_verify=True)).verify_mode is ssl.CERT_NONE
