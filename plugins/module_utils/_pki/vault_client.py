"""Calls of OpenBao's API from a CA host: in a session that the controller opened, bounded in time and tries."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from ansible_collections.mtls.kit.plugins.module_utils._pki import vault_http
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_http import Answer

TRIES: Final = 3
PAUSE: Final = 0.25
"""Seconds before the second try, and twice as many before the third."""

CONNECTIONS: Final = 8
"""Requests at a time where there are many: more gained nothing against a server of two cores."""

TRY_AGAIN: Final = {412, 429, 472, 473, 500, 502, 503, 504}
"""A standby, a server that is starting, electing a leader, behind its leader, or has too much to do."""

_LONGEST_WORDS: Final = 300

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Session:
    """What the controller hands over: where OpenBao is, how it is verified, a token, and which mount each CA has.

    ``seconds`` is how long each call may take, tries included.
    """

    url: str
    token: str = field(repr=False)
    ca_pem: str = ""
    namespace: str = ""
    seconds: float = 10.0
    mounts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parsed(cls, text: str) -> Session | None:
        """The session in a JSON text, None for an empty one; KitError without a word of what is in it."""
        if not text:
            return None
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            raise KitError(
                "openbao", "something else than a session", "what the action plugin makes of pki_openbao", "correct it"
            ) from None


class Client:
    """Sends requests, from several threads if need be, each over a connection of its own."""

    def __init__(self, session: Session) -> None:
        """Nothing is sent yet. KitError for a CA that is none."""
        self.url = session.url
        self._seconds = session.seconds
        self._headers = {"X-Vault-Token": session.token, "X-Vault-Request": "true"}
        if session.namespace:
            self._headers["X-Vault-Namespace"] = session.namespace
        try:
            self._context = vault_http.tls_context(session.ca_pem) if session.url.startswith("https:") else None
        except ssl.SSLError:
            raise KitError(
                "pki_openbao.ca_cert",
                "a file without a certificate in PEM",
                "the CA of OpenBao's listener",
                "correct it",
            ) from None
        self._local = threading.local()
        self._connections: list[vault_http.Connection] = []

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()

    def in_parallel(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """``work`` done on each item, several at a time; results in the order of the items."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            yield from pool.map(work, items)

    def get(self, what: str, path: str) -> dict[str, Any]:
        """What is at ``path``."""
        return self.data(what, "GET", path, self.call(what, "GET", path))

    def find(self, what: str, path: str) -> dict[str, Any] | None:
        """What is at ``path``, None where nothing is."""
        answer = self.call(what, "GET", path)
        return None if answer.status == 404 else self.data(what, "GET", path, answer)

    def list(self, what: str, path: str) -> dict[str, Any]:
        """The keys at ``path``, with what is told of them; empty where there are none."""
        answer = self.call(what, "LIST", path)
        return {} if answer.status == 404 else self.data(what, "LIST", path, answer)

    def write(self, what: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a write to ``path`` gives."""
        return self.data(what, "POST", path, self.call(what, "POST", path, body))

    def delete(self, what: str, path: str) -> None:
        """Take away what is at ``path``."""
        self.data(what, "DELETE", path, self.call(what, "DELETE", path))

    def call(self, what: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Send a request to ``/v1/<path>``, again where that can help, until the time is up.

        Raises KitError about ``what`` when there is no answer, or one that doesn't come from such a server.
        """
        what = f"{what}, OpenBao at {self.url}"
        left, fault = self._seconds, self._slow(what)
        for number in range(TRIES):
            if number:
                pause = min(PAUSE * 2 ** (number - 1), max(left, 0.0))
                time.sleep(pause)
                left -= pause
            if left <= 0:
                break
            # The last try gets all that is left, those before it half: one that was swallowed is sent again.
            seconds = left if number == TRIES - 1 else left / 2
            started = time.monotonic()
            try:
                answer = self._connection().send(method, f"/v1/{path}", self._headers, body, seconds)
            except vault_http.NotVault:
                raise KitError(
                    what, "something that isn't HTTP with JSON", "the API of OpenBao", "correct pki_openbao.url"
                ) from None
            except OSError as error:
                fault = self._connection_fault(what, error)
                if isinstance(error, ssl.SSLError):
                    break
            else:
                if answer.status not in TRY_AGAIN:
                    return answer
                fault = _status_fault(what, answer)
                if "sealed" in fault.found:
                    break
            finally:
                left -= time.monotonic() - started
        raise fault from None

    def _connection(self) -> vault_http.Connection:
        connection: vault_http.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = vault_http.Connection(self.url, self._context)
            self._connections.append(connection)
        return connection

    def data(self, what: str, method: str, path: str, answer: Answer) -> dict[str, Any]:
        """What is in an answer; KitError for one that refuses."""
        if answer.status in (200, 204):
            return answer.body.get("data") or {}
        what = f"{what}, OpenBao at {self.url}"
        if answer.status == 403:
            raise KitError(
                what,
                "status 403: the token has ended, or its policies don't allow this",
                f"the capability {_CAPABILITIES[method]} on {path}",
                "give it to the policy of pki_openbao's token or role (docs/pki-openbao.md has a whole policy)",
            )
        raise KitError(
            what,
            f"status {answer.status} for {method} {path}{words_of(answer)}",
            "that OpenBao does it",
            "see what it says, and docs/pki-openbao.md for how its mounts are set up",
        )

    def _slow(self, what: str) -> KitError:
        return KitError(
            what,
            f"no answer within {self._seconds:g} s",
            "an answer within pki_openbao.timeout",
            "see what slows the server or the network, or raise pki_openbao.timeout",
        )

    def _connection_fault(self, what: str, error: OSError) -> KitError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return KitError(
                what,
                f"a server certificate that isn't trusted ({error.verify_message})",
                "one for the host name in url, from a CA that the CA host or pki_openbao.ca_cert trusts",
                "set pki_openbao.ca_cert to the PEM of the server's CA, or correct url",
            )
        if isinstance(error, ssl.SSLError):
            return KitError(
                what,
                f"a TLS handshake that failed ({error.reason or 'closed'})",
                "TLS 1.2 or 1.3 without a client certificate",
                "correct pki_openbao.url, or let the listener ask for no client certificate",
            )
        if isinstance(error, TimeoutError):
            return self._slow(what)
        return KitError(
            what,
            f"no connection ({error.strerror or type(error).__name__})",
            "a server that answers",
            "see that it runs and can be reached from the CA host, and correct pki_openbao.url",
        )


_CAPABILITIES: Final = {"GET": "read", "LIST": "list", "POST": "update", "DELETE": "delete"}


def words_of(answer: Answer) -> str:
    """What the server says of a request that it refused, in one line. Nothing that is sent it to sign is secret."""
    errors = answer.body.get("errors")
    words = " ".join(" ".join(str(error) for error in errors).split()) if isinstance(errors, list) else ""
    return f" ({words[:_LONGEST_WORDS]})" if words else ""


def _status_fault(what: str, answer: Answer) -> KitError:
    if answer.status == 503 and "sealed" in str(answer.body.get("errors")).lower():
        return KitError(what, "a sealed server", "an unsealed one", "unseal it (bao operator unseal), then run again")
    return KitError(
        what,
        f"status {answer.status} after {TRIES} tries{words_of(answer)}",
        "a server that is active and has room",
        "see the server's log and bao status, then run again",
    )
