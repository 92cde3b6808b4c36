"""TLS certificates of servers and clients."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM form.

    Attributes:
        ca: Trusted certificates; None: those that this machine trusts.
        certificate: The client's own, if the server requires one.
        key: Its private key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context for HTTP. OSError or ssl.SSLError for a missing or invalid file."""
        made = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            made.load_cert_chain(self.certificate, self.key)
        return made

    def credentials(self) -> Any:
        """Return ``grpc.ChannelCredentials``. OSError for a missing file."""
        import grpc

        make: Any = grpc.ssl_channel_credentials
        files = (self.ca, self.key, self.certificate)
        return make(*(file and file.read_bytes() for file in files))
