"""How a server proves who it is, and how a client does."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM form.

    Attributes:
        ca: Certificates that are trusted; None: those that this machine trusts.
        certificate: The client's own, where the server asks for one.
        key: Its private key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For HTTP. OSError or ssl.SSLError for a file that is absent or no PEM."""
        made = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            made.load_cert_chain(self.certificate, self.key)
        return made

    def credentials(self) -> Any:
        """For gRPC: ``grpc.ChannelCredentials``. OSError for a file that is absent."""
        import grpc

        make: Any = grpc.ssl_channel_credentials
        files = (self.ca, self.key, self.certificate)
        return make(*(file and file.read_bytes() for file in files))
