"""Where the keys of authorities are: in the store, or in OpenBao, which the ledger remembers of each of them.

And what a comparison of the ledger with OpenBao (``reconcile``) can come to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki import rotation
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, Ledger, NewCertificate, Revocation

LOCAL: Final = "local"
OPENBAO: Final = "openbao"
BACKENDS: Final = (LOCAL, OPENBAO)

UNKNOWN: Final = "unknown/"
"""How names begin of certificates that OpenBao signed for nobody of this PKI; the rest is the serial."""

_FACT: Final = "in openbao "
"""Prefix of the ledger's facts about authorities in OpenBao, by label."""


@dataclass(frozen=True)
class Place:
    """Where in OpenBao an authority is: the mount of its PKI engine, and the id of its issuer there."""

    mount: str
    issuer: str


def places(ledger: Ledger) -> dict[str, Place]:
    """The place of each authority whose key OpenBao has, by label."""
    return {label: Place(**json.loads(text)) for label, text in ledger.metas(_FACT).items()}


def set_place(ledger: Ledger, label: str, place: Place) -> None:
    """Write down the place of an authority."""
    ledger.set_meta(_FACT + label, json.dumps(vars(place)))


def signed_in_openbao(ledger: Ledger, authorities: Iterable[Authority], name: str, backend: str) -> bool:
    """Whether OpenBao signs for the CA ``name``; ``backend`` is where its first generation would be made."""
    ca = rotation.signing(authorities, name)
    return backend == OPENBAO if ca is None else ca.label in places(ledger)


@dataclass(frozen=True)
class Found:
    """A revocation that the ledger lacks: whose, why in words, and what is to be entered."""

    name: str
    words: str
    revocation: Revocation


@dataclass(frozen=True)
class Differences:
    """``revoked`` and ``unknown`` the ledger lacks; ``untold`` are (name, mount, serial) that OpenBao lacks."""

    revoked: Sequence[Found] = ()
    unknown: Sequence[NewCertificate] = ()
    untold: Sequence[tuple[str, str, str]] = ()


NO_DIFFERENCES: Final = Differences()
