"""TLS over both protocols: a trusted certificate is taken, another is refused."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path

import grpc
import pytest

from support.grpc_triton import official, serving
from support.scripted_http import answer, scripted
from trtbuild.wire.failures import UnreachableError
from trtbuild.wire.tls import Tls
from trtbuild.wire.triton_grpc import TritonGrpc
from trtbuild.wire.triton_http import TritonHttp


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of this machine and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_http(files: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)

    async def ask() -> None:
        async with scripted([answer(b"")], tls=context) as server:
            url = f"https://{server.url}"
            async with TritonHttp(url, tls=Tls(ca=files[0])) as client:
                assert await client.live()
            async with TritonHttp(url) as client:
                with pytest.raises(UnreachableError, match="certificate verify failed"):
                    await client.live()

    asyncio.run(ask())


def test_grpc(files: tuple[Path, Path]) -> None:
    certificate, key = (file.read_bytes() for file in files)
    credentials = grpc.ssl_server_credentials([(key, certificate)])
    script = {"ServerLive": [official.ServerLiveResponse(live=True)]}

    async def ask() -> None:
        async with serving(script, tls=credentials) as server:
            async with TritonGrpc(f"grpcs://{server.url}", tls=Tls(ca=files[0])) as client:
                assert await client.live()
            async with TritonGrpc(f"grpcs://{server.url}", seconds=5) as client:
                with pytest.raises(UnreachableError):
                    await client.live()

    asyncio.run(ask())
