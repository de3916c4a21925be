"""A session with OpenBao or HashiCorp Vault: where it is, the login, and calls that log in again when they must."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import options as checked
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_login import NAME, Login

if TYPE_CHECKING:
    from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_client import Answer, Client

_COMMON = ("url", "namespace", "ca_cert", "client_cert", "client_key", "auth", "timeout")


class OpenBaoSession:
    """Checks the options of a server and of the login, and then keeps a client that is logged in."""

    client: Client

    def __init__(self, options: Mapping[str, Any], more: Iterable[str]) -> None:
        """Check the options; ``more`` are those that its user has beside. Raises ``KitError``; nothing is sent yet."""
        self._login = Login(options, (*_COMMON, *more))
        self.url = _url(options)
        self.namespace = checked.place(NAME, options, "namespace", "root") if options.get("namespace") else None
        self.ca_cert = checked.file(NAME, options, "ca_cert")
        self._client_cert = _client_cert(options)
        if self._client_cert and not self.url.startswith("https:"):
            raise checked.refuse(NAME, "client_cert", "a url without TLS", "https", "begin url with https://")
        self.seconds = checked.timeout(NAME, options)

    @property
    def thing(self) -> str:
        """How messages name the server."""
        return f"backend {NAME}, {self.url}"

    def open(self) -> None:
        """Log in. Raises ``KitError``."""
        self.client = self._new_client()
        try:
            self._log_in()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End a token that a login of ours made; one that can't be ended now ends by itself."""
        if self._login.repeatable and self.client.token:
            with suppress(KitError):
                self.client.call(self.thing, "post", "auth/token/revoke-self")
        self.client.close()

    def _new_client(self) -> Client:
        # Here, so that a controller without hvac can use the other backends, and doesn't wait for it to load.
        try:
            from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_client import Client
        except ImportError:
            raise KitError(
                self.thing,
                "no Python package hvac",
                "it beside the Ansible that runs this",
                "install it there with pip install hvac, or what requirements.txt names",
            ) from None
        return Client(
            self.url,
            self.seconds,
            namespace=self.namespace,
            ca_cert=self.ca_cert,
            client_cert=self._client_cert,
        )

    def _log_in(self) -> None:
        body = self._login.body()
        if body is None:
            self.client.token = self._login.token()
            return
        self.client.token = None
        what = f"{self.thing}, login by {self._login.method} at auth/{self._login.mount}"
        answer = self.client.call(what, "post", f"auth/{self._login.mount}/login", body)
        token = (answer.body.get("auth") or {}).get("client_token") if answer.status == 200 else None
        if not token:
            raise KitError(
                what,
                f"status {answer.status}",
                "a token",
                "correct the credentials, role, auth_mount and namespace, or take new credentials: a secret_id may be "
                "used up, a JWT or certificate expired",
            )
        self.client.token = token

    def call(self, what: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Send a request; once more with a new token when the one in use has ended. 403 then means the policy."""
        answer = self.client.call(what, method, path, body)
        if answer.status != 403 or self.client.call(what, "get", "auth/token/lookup-self").status == 200:
            return answer
        if not self._login.repeatable:
            raise KitError(
                what,
                "status 403, and a token that can't even look itself up",
                "a token that is valid until the run ends",
                "take a new token, or auth approle, jwt or cert, which log in again by themselves",
            )
        self._log_in()
        return self.client.call(what, method, path, body)


def _url(options: Mapping[str, Any]) -> str:
    """Scheme, host and port. TLS is needed but for this machine itself, for a token in clear can be read by others."""
    given = checked.required(NAME, options, "url").rstrip("/")
    fault = checked.refuse(NAME, "url", "something else", "https://HOST or https://HOST:PORT and nothing more")
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        raise fault from None
    host = parts.hostname
    shown = f"[{host}]" if host and ":" in host else host
    rebuilt = f"{parts.scheme}://{shown}" + ("" if port is None else f":{port}")
    if parts.scheme not in ("http", "https") or not host or rebuilt.lower() != given.lower():
        raise fault
    if parts.scheme == "http" and not _is_this_machine(host):
        raise checked.refuse(
            NAME, "url", f"http to {host!r}", "https, but for a server on this machine", "begin it with https://"
        )
    return rebuilt


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _client_cert(options: Mapping[str, Any]) -> tuple[str, str] | None:
    cert, key = checked.file(NAME, options, "client_cert"), checked.file(NAME, options, "client_key")
    if (cert is None) != (key is None):
        absent = "client_cert" if cert is None else "client_key"
        raise checked.refuse(NAME, absent, "nothing", "client_cert and client_key together", "set it")
    if key and "ENCRYPTED" in checked.content(NAME, "client_key", key):
        raise checked.refuse(
            NAME,
            "client_key",
            "an encrypted key",
            "one without a password, which nobody is there to type",
            "decrypt it",
        )
    return (str(cert), str(key)) if cert and key else None
