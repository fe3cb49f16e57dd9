"""An authority, and files of what it issues."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """Writes PEM files into a folder; references name them as settings do."""

    def __init__(self, folder: Path) -> None:
        self._ca, self._folder = trustme.CA(), folder

    def reference(self, name: str = "ca.pem") -> str:
        """The authority itself."""
        self._ca.cert_pem.write_to_path(str(self._folder / name))
        return f"file:{self._folder / name}"

    def issued(self, name: str = "client") -> tuple[str, str]:
        """References to a certificate and its key."""
        mine = self._ca.issue_cert(f"{name}.example")
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        mine.cert_chain_pems[0].write_to_path(str(paths[0]))
        mine.private_key_pem.write_to_path(str(paths[1]))
        return f"file:{paths[0]}", f"file:{paths[1]}"

    def encrypted(self) -> str:
        """A reference to a key that needs a password."""
        key = ec.generate_private_key(ec.SECP256R1())
        locked = serialization.BestAvailableEncryption(b"password")
        kind = serialization.PrivateFormat.PKCS8
        file = self._folder / "encrypted.key"
        file.write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, locked))
        return f"file:{file}"

    def context(self, *, ask_client: bool = False, host: str = "127.0.0.1") -> ssl.SSLContext:
        """Of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(host).configure_cert(context)
        if ask_client:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self, *, ask_client: bool = False) -> grpc.ServerCredentials:
        """The same, of a gRPC server."""
        mine = self._ca.issue_cert("127.0.0.1")
        chain = b"".join(pem.bytes() for pem in mine.cert_chain_pems)
        trusted = self._ca.cert_pem.bytes() if ask_client else None
        return grpc.ssl_server_credentials(
            [(mine.private_key_pem.bytes(), chain)], trusted, ask_client
        )
