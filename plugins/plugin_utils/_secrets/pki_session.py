"""A session with OpenBao that is opened here, on the controller, for a module to use on the CA host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import options as checked
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_login import NAME
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_session import OpenBaoSession

_HELD_ELSEWHERE = "key_password_options"
"""How the checks of options that are shared with key_password call the variable that holds them."""


@contextmanager
def handed_over(options: Any) -> Iterator[str]:
    """``pki_openbao`` as the modules' argument ``openbao``: JSON with a token that ends with the block.

    A token that was given is handed on as it is. Raises ``KitError``, without a secret in it.
    """
    try:
        if not isinstance(options, Mapping):
            raise KitError("pki_openbao", "something else", "a dictionary", "correct it")
        mounts = _mounts(options)
        session = OpenBaoSession(options, ("mounts",))
        session.open()
    except KitError as error:
        raise _of_pki(error) from None
    try:
        ca_pem = checked.content(NAME, "ca_cert", session.ca_cert) if session.ca_cert else ""
        yield json.dumps(
            {
                "url": session.url,
                "token": session.client.token,
                "ca_pem": ca_pem,
                "namespace": session.namespace or "",
                "seconds": session.seconds,
                "mounts": mounts,
            }
        )
    finally:
        session.close()


def with_session(task: Any, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """``run`` an action whose ``task`` has ``pki_openbao`` as its argument ``openbao``, with the session instead."""
    given = task.args.get("openbao")
    if not given:
        return run()
    before = task.args
    try:
        with handed_over(given) as session:
            task.args = {**before, "openbao": session}
            return run()
    except KitError as error:
        return {"failed": True, "msg": str(error)}
    finally:
        task.args = before


def _mounts(options: Mapping[str, Any]) -> dict[str, str]:
    given = options.get("mounts") or {}
    if not isinstance(given, Mapping):
        raise checked.refuse(NAME, "mounts", "something else", "a dictionary of mounts by the names of CAs")
    return {str(name): checked.place(NAME, given, str(name), str(name)) for name in given}


def _of_pki(error: KitError) -> KitError:
    parts = (error.what, error.found, error.expected, error.next_step)
    return KitError(*(part.replace(_HELD_ELSEWHERE, "pki_openbao") for part in parts))
