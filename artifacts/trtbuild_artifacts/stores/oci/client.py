"""A client of the OCI distribution API: manifests and blobs of one repository of a registry.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import httpx

from trtbuild.errors import BuildError, UsageError
from trtbuild.wire.direct import loopback
from trtbuild_artifacts.reference import Reference
from trtbuild_artifacts.stores.oci.bodies import beginning, drop, reasons, skipped
from trtbuild_artifacts.stores.oci.credentials import Credentials, find

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_MANIFEST_BYTES = 4 << 20  # what registries accept, and more than any of ours
_REDIRECTS = 5
_CHUNK = 1 << 20
_TIMEOUT = httpx.Timeout(60, connect=10)
_PAUSES = (1.0, 4.0)  # seconds before the second and the third attempt
_AGAIN = (408, 429, 500, 502, 503, 504)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')

Body = Callable[[], Iterator[bytes]]


class Registry:
    """One repository of a registry. Authorizes itself when the registry asks for it."""

    def __init__(self, reference: Reference) -> None:
        host, _, name = reference.place.partition("/")
        if not name or name != name.lower() or not _is_address(host):
            raise UsageError(
                f"{reference.place!r} is not the name of an image",
                fix="write oci://REGISTRY/NAME:TAG with lower-case letters",
            )
        local = loopback(host)
        plain = local or reference.scheme == "oci+http"
        self.host, self.name = host, name
        api = "registry-1.docker.io" if host == "docker.io" else host
        self._base = f"{'http' if plain else 'https'}://{api}/v2/{name}/"
        self._credentials: Credentials | None = None
        self._authorization = ""
        self._http = httpx.Client(timeout=_TIMEOUT, trust_env=not local)

    def manifest(self, reference: str) -> tuple[bytes, str]:
        """A manifest by tag or digest, and its digest. UsageError if there is none."""
        response = self._send("GET", f"manifests/{reference}", {"Accept": MANIFEST})
        if response.status_code == 404:
            response.close()
            raise UsageError(
                f"{self.host}/{self.name} has no {reference!r}",
                fix="check name and tag; trtbuild push stores one",
            )
        self._check(response)
        try:
            content = beginning(response, _MANIFEST_BYTES)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from None
        digest = digest_of(content)
        if reference.startswith("sha256:") and digest != reference:
            raise BuildError(
                f"the registry answered with another manifest than {reference}",
                where=f"{self.host}/{self.name}",
                fix="the registry, or something before it, is broken or not to be trusted",
            )
        return content, digest

    def put_manifest(self, reference: str, content: bytes) -> None:
        """Store a manifest under a tag or its digest."""
        headers = {"Content-Type": MANIFEST}
        body = lambda: iter((content,))  # noqa: E731
        self._done(self._send("PUT", f"manifests/{reference}", headers, body, len(content)))

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob."""
        response = self._send("HEAD", f"blobs/{digest}")
        if response.status_code == 404:
            drop(response)
            return False
        self._done(response)
        return True

    def put_blob(self, digest: str, size: int, body: Body) -> None:
        """Upload a blob in one request. ``body`` is called again for another attempt."""
        begun = self._send("POST", "blobs/uploads/", push=True)
        self._done(begun)
        place, joint = self._upload_place(begun)
        headers = {"Content-Type": "application/octet-stream"}
        self._done(self._send("PUT", f"{place}{joint}digest={digest}", headers, body, size))

    def _upload_place(self, begun: httpx.Response) -> tuple[str, str]:
        """Where the registry wants a blob, and what joins a parameter to that URL. BuildError."""
        given = begun.headers.get("Location", "")
        try:
            place = urljoin(str(begun.request.url), given)
            parts = urlsplit(place)
        except ValueError:
            parts = urlsplit("")
        allowed = ("https",) if self._base.startswith("https:") else ("https", "http")
        if parts.scheme not in allowed:
            raise BuildError(
                f"{self.host} wants the upload at {given[:200]!r}, which others could read",
                where=f"{self.host}/{self.name}",
                fix="tell the proxy before the registry to pass X-Forwarded-Proto on",
            )
        return place, "&" if parts.query else "?"

    @contextmanager
    def blob(self, digest: str, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """The bytes of a blob from an offset on. The iterator may raise :class:`httpx.HTTPError`.

        Raises:
            BuildError: The registry does not have it (any more), or refuses.
        """
        headers = {"Accept-Encoding": "identity"}
        headers |= {"Range": f"bytes={offset}-"} if offset else {}
        response = self._send("GET", f"blobs/{digest}", headers)
        try:
            if response.status_code == 404:
                raise BuildError(
                    f"{self.host}/{self.name} no longer has the blob {digest}",
                    fix="it was deleted from the registry: push the repository again",
                )
            self._check(response)
            skip = offset if response.status_code != 206 else 0
            yield skipped(response.iter_raw(_CHUNK), skip)
        finally:
            response.close()

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        size: int = 0,
        *,
        push: bool = False,
    ) -> httpx.Response:
        """Send a request, with credentials if asked for them, again if it fails for a while.

        The caller reads and closes the response: a registry may send any amount.

        Raises:
            BuildError: The registry cannot be reached.
        """
        url = urljoin(self._base, path)
        push = push or body is not None
        for pause in (*_PAUSES, None):
            try:
                response = self._once(method, url, headers, body, size)
                if response.status_code == 401 and self._authorize(response, push=push):
                    drop(response)
                    response = self._once(method, url, headers, body, size)
                if response.status_code not in _AGAIN or pause is None:
                    return response
                drop(response)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if pause is None:
                    raise self.unreachable(error) from None
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: Body | None,
        size: int,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Length"] = str(size)
        if self._authorization and urlsplit(url)[:2] == urlsplit(self._base)[:2]:
            sent["Authorization"] = self._authorization
        content = body() if body is not None else None
        request = self._http.build_request(method, url, headers=sent, content=content)
        response = self._http.send(request, stream=True)
        for _ in range(_REDIRECTS if body is None else 0):
            if response.next_request is None:
                break
            drop(response)  # httpx itself would read all of it
            response = self._http.send(response.next_request, stream=True)
        return response

    def _authorize(self, response: httpx.Response, *, push: bool) -> bool:
        """Get what the registry asks for; False if there is nothing (else) to offer."""
        if self._credentials is None:
            self._credentials = find(self.host)
        kind, _, rest = response.headers.get("WWW-Authenticate", "").partition(" ")
        if kind.lower() == "basic":
            found = self._credentials.basic
        elif kind.lower() == "bearer":
            found = self._token(dict(_PARAMETER.findall(rest)), push=push)
        else:
            return False
        if not found or found == self._authorization:
            return False
        self._authorization = found
        return True

    def _token(self, asked: Mapping[str, str], *, push: bool) -> str:
        """Exchange the credentials for a token
        (https://distribution.github.io/distribution/spec/auth/token/)."""
        realm = asked.get("realm", "")
        try:
            secure = realm.startswith("https://") or loopback(urlsplit(realm).netloc)
        except ValueError:
            return ""
        credentials = self._credentials or Credentials()
        if not secure and (self._base.startswith("https://") or not realm.startswith("http://")):
            return ""  # it would be read by others on its way
        scope = f"repository:{self.name}:{'pull,push' if push else 'pull'}"
        query = {"service": asked.get("service", ""), "scope": scope}
        if credentials.identity_token:
            form = {**query, "grant_type": "refresh_token", "client_id": "trtbuild"}
            form["refresh_token"] = credentials.identity_token
            request = self._http.build_request("POST", realm, data=form)
        else:
            headers = {"Authorization": credentials.basic} if credentials.basic else {}
            request = self._http.build_request("GET", realm, params=query, headers=headers)
        answer = self._http.send(request, stream=True)
        content = beginning(answer, _MANIFEST_BYTES)
        try:
            found = json.loads(content) if answer.is_success else {}
            token = found.get("token") or found.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = ""
        return f"Bearer {token}" if token else ""

    def _done(self, response: httpx.Response) -> None:
        """Check a response whose body has no meaning."""
        self._check(response)
        drop(response)

    def _check(self, response: httpx.Response) -> None:
        """Raise the error of a refusal."""
        if response.is_success:
            return
        status = response.status_code
        details = reasons(response)
        where = f"{self.host}/{self.name}"
        if status in (401, 403):
            raise BuildError(
                f"{self.host} refuses access to {self.name!r} (HTTP {status})",
                details=details,
                fix=f"docker login {self.host}, with an account that may use that repository",
            )
        if status == 413:
            raise BuildError(
                f"{self.host} does not accept a layer of this size (HTTP 413)",
                where=where,
                details=details,
                fix="raise the limit of the registry or of the proxy before it, or use s3://",
            )
        raise BuildError(
            f"{self.host} answers with HTTP {status}",
            where=where,
            details=details,
            fix="check the state of the registry; run the command again to resume",
        )

    def unreachable(self, error: Exception) -> BuildError:
        """The error for a connection that failed."""
        reason = str(error) or type(error).__name__
        return BuildError(
            f"{self.host} cannot be reached: {reason}",
            fix="check the address and the network; run the command again to resume",
        )


def _is_address(host: str) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an address, or a port that is none
        return False


def digest_of(content: bytes) -> str:
    """``sha256:…`` of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
