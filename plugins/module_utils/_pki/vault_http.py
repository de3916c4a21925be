"""A kept connection to OpenBao, with the standard library alone: what runs on a CA host has no other HTTP client."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

LARGEST: Final = 64 << 20
"""Bytes of an answer: the serials of a million certificates, which is the longest list there is."""

_CHUNK: Final = 1 << 16


class NotVault(Exception):
    """Something answered that isn't OpenBao: no HTTP, or no JSON."""


@dataclass(frozen=True)
class Answer:
    """Status and JSON body of an answer, whatever the status is."""

    status: int
    body: Mapping[str, Any] = field(repr=False)


def tls_context(ca_pem: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, the server verified by name, against ``ca_pem`` or where that is empty the system's CAs.

    Raises ssl.SSLError for a PEM without a certificate.
    """
    context = ssl.create_default_context(cadata=ca_pem or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Connection:
    """One connection, opened when it is first needed and kept; of one thread at a time."""

    def __init__(self, url: str, context: ssl.SSLContext | None) -> None:
        """``url`` is scheme, host and port; ``context`` is None for plain HTTP, to this machine itself."""
        parts = urlsplit(url)
        self._host, self._port, self._context = parts.hostname or "", parts.port, context
        self._open: http.client.HTTPConnection | None = None

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any] | None, seconds: float
    ) -> Answer:
        """Send a request and return what came back within ``seconds``.

        Raises OSError where the connection fails or is too slow, and NotVault for an answer that is none.
        """
        deadline = time.monotonic() + seconds
        connection = self._connection(seconds)
        content = None if body is None else json.dumps(body)
        sent = {**headers, "Content-Type": "application/json"} if content is not None else dict(headers)
        try:
            connection.request(method, path, content, sent)
            response = connection.getresponse()
            text = self._read(response, deadline)
        except http.client.RemoteDisconnected:
            # A kept connection that the server has closed meanwhile; it is an OSError too.
            self.close()
            raise
        except http.client.HTTPException as error:
            self.close()
            raise NotVault from error
        except OSError:
            self.close()
            raise
        return Answer(response.status, _document(response.status, text))

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        if self._open is None:
            if self._context is None:
                self._open = http.client.HTTPConnection(self._host, self._port, timeout=seconds)
            else:
                self._open = http.client.HTTPSConnection(self._host, self._port, timeout=seconds, context=self._context)
        elif self._open.sock is not None:
            self._open.sock.settimeout(seconds)
        return self._open

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        content = bytearray()
        while chunk := response.read(_CHUNK):
            content += chunk
            if len(content) > LARGEST:
                raise http.client.HTTPException
            if time.monotonic() > deadline:
                raise TimeoutError
        return bytes(content)


def _document(status: int, text: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(text) if text else {}
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    if status < 400:
        raise NotVault
    # A proxy in between has errors of its own, as HTML.
    return {}
