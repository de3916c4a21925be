"""One connection to OpenBao or HashiCorp Vault, bounded in time and tries; needs the Python package hvac."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hvac.adapters import RawAdapter

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import PAUSE, TRIES, TRY_AGAIN
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.within import TooSlow, within


@dataclass(frozen=True)
class Answer:
    """Status and JSON body of an answer, whatever the status is."""

    status: int
    body: Mapping[str, Any] = field(repr=False)


class Client:
    """Sends requests; ``token`` is what they bear."""

    def __init__(
        self,
        url: str,
        seconds: float,
        *,
        namespace: str | None,
        ca_cert: Path | None,
        client_cert: tuple[str, str] | None,
    ) -> None:
        """``seconds`` is the time that all calls together may take; nothing is sent yet."""
        self._left = seconds
        # Not hvac.Client, which takes what it isn't told from VAULT_* variables and ~/.vault-token.
        self._adapter = RawAdapter(
            base_uri=url, namespace=namespace, verify=str(ca_cert) if ca_cert else True, cert=client_cert
        )
        session = self._adapter.session
        if url.startswith("https:"):
            # A standby sends us on to its leader, but the token goes through TLS or not at all.
            del session.adapters["http://"]
        else:
            # This machine itself is never reached through a proxy.
            session.trust_env = False

    @property
    def token(self) -> str | None:
        """What is sent as X-Vault-Token."""
        token: str | None = self._adapter.token
        return token

    @token.setter
    def token(self, token: str | None) -> None:
        self._adapter.token = token

    def allow(self, seconds: float) -> None:
        """Add to the time that is left."""
        self._left += seconds

    def close(self) -> None:
        """Close the connections."""
        self._adapter.close()

    def call(self, what: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Send a request to ``/v1/<path>``, again where that can help, until the time is up.

        Raises ``KitError`` about ``what`` when there is no answer, or one that doesn't come from such a server.
        """
        fault = _slow_fault(what)
        for number in range(TRIES):
            if number:
                self._sleep(PAUSE * 2 ** (number - 1))
            # The last try gets all that is left, those before it half: one that was swallowed is sent again.
            seconds = self._left if number == TRIES - 1 else self._left / 2
            if seconds <= 0:
                break
            started = time.monotonic()
            try:
                answer = within(seconds, partial(self._send, method, path, body, seconds))
            except TooSlow:
                fault = _slow_fault(what)
            except ValueError:
                # Also of requests itself, which would quote what is wrong; that may be the token.
                raise KitError(
                    what, "something that isn't HTTP with JSON", "the API of OpenBao or Vault", "correct url"
                ) from None
            except OSError as error:
                fault = _connection_fault(what, error)
                if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
                    break
            else:
                if answer.status not in TRY_AGAIN:
                    return answer
                fault = _status_fault(what, answer)
                if "sealed" in fault.found:
                    break
            finally:
                self._left -= time.monotonic() - started
        raise fault from None

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> Answer:
        given = {} if body is None else {"json": dict(body)}
        response = self._adapter.request(method, f"/v1/{path}", raise_exception=False, timeout=seconds, **given)
        try:
            content = response.json() if response.content else {}
        except ValueError:
            content = None
        if isinstance(content, dict):
            return Answer(response.status_code, content)
        if response.status_code < 400:
            raise ValueError
        # A proxy in between has errors of its own, as HTML.
        return Answer(response.status_code, {})

    def _sleep(self, seconds: float) -> None:
        pause = min(seconds, max(self._left, 0))
        time.sleep(pause)
        self._left -= pause


def _status_fault(what: str, answer: Answer) -> KitError:
    # The server's own words aren't passed on but for these: they may quote what it was sent.
    if answer.status == 503 and "sealed" in str(answer.body.get("errors")).lower():
        return KitError(what, "a sealed server", "an unsealed one", "unseal it (bao operator unseal), then run again")
    return KitError(
        what,
        f"status {answer.status} after {TRIES} tries",
        "a server that is active and has room",
        "see the server's log and bao status, then run again",
    )


def _slow_fault(what: str) -> KitError:
    return KitError(
        what,
        "no answer in the time that is left",
        "all answers of a run within key_password_options.timeout",
        "see what slows the server or the network, or raise key_password_options.timeout",
    )


def _connection_fault(what: str, error: OSError) -> KitError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return KitError(
                what,
                f"a server certificate that isn't trusted ({cause.verify_message})",
                "one for the host name in url, from a CA that this machine or key_password_options.ca_cert trusts",
                "set key_password_options.ca_cert to the PEM of the server's CA, or correct url",
            )
        if isinstance(cause, ssl.SSLError):
            return KitError(
                what,
                f"a TLS handshake that failed ({cause.reason or 'a file with no certificate or key that fits'})",
                "TLS 1.2 or 1.3, and the client certificate if the server asks for one",
                "correct url, ca_cert, client_cert or client_key",
            )
    if any(isinstance(cause, TimeoutError) for cause in _causes(error)):
        return _slow_fault(what)
    known = [cause.strerror for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror]
    return KitError(
        what,
        f"no connection ({known[-1] if known else type(error).__name__})",
        "a server that answers",
        "see that it runs and can be reached from this machine, and correct url",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, as far as requests and urllib3 keep it: as an argument, reason or context."""
    queue, seen = [error], set[int]()
    while queue:
        cause = queue.pop(0)
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            found = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
            queue += [each for each in found if isinstance(each, BaseException)]
