"""The trust unit of a scope: which client certificates a gateway accepts, generated from the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ansible_collections.mtls.kit.plugins.module_utils._pki import der, names

if TYPE_CHECKING:
    # Gateways have no ledger, and what a module imports there is compiled by each of its calls.
    from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, Identity, Ledger

NUMBER_MAP: Final = "number.map"
FILES: Final = ("client-ca.crt", "issuers.map", "revoked.map", "identities.map", "crl.pem", NUMBER_MAP)
COUNTER: Final = "trust"


def digest(files: Mapping[str, str]) -> str:
    """SHA-256 (lower-case hex) over the unit's files by sorted name, ``number.map`` left out.

    Each file enters as its name, NUL, its length in bytes, NUL, and its bytes, so that no two units share a digest.
    """
    total = hashlib.sha256()
    for name in sorted(files):
        if name != NUMBER_MAP:
            content = files[name].encode()
            total.update(f"{name}\0{len(content)}\0".encode())
            total.update(content)
    return total.hexdigest()


def file_digests(files: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of each file, to say which of them made a unit change."""
    return {name: hashlib.sha256(content.encode()).hexdigest() for name, content in sorted(files.items())}


def number_map(number: int) -> str:
    """What Nginx serves as the trust number it really loaded."""
    return f'default "{number}";\n'


def _identity_line(entry: Identity) -> str:
    groups = ",".join(entry.groups)
    sans = ",".join(map(names.map_encoded, entry.sans))
    # A backend knows its clients by the names of the inventory, not by the paths of the store.
    name = entry.name.removeprefix("client/")
    return f'"{entry.issuer}:{entry.serial}" "{name}|{groups}|{sans}|{entry.sha256}";'


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def render(
    ledger: Ledger, accepted: Sequence[Authority], roots: Sequence[Authority], crls: Sequence[bytes], now: datetime
) -> dict[str, str]:
    """The files of a unit that accepts these issuing CAs, ``number.map`` still to come.

    ``crls`` are those of ``accepted`` and ``roots``, in this order. Expired certificates and probes are in no map.
    """
    numbers = [ca.number for ca in accepted]
    return {
        "client-ca.crt": "".join(der.pem("CERTIFICATE", ca.der).decode() for ca in (*accepted, *roots)),
        "issuers.map": _lines(
            [f'{names.nginx_quoted(f"~^{names.regex_escaped(ca.subject)}$")} "{ca.number}";' for ca in accepted]
        ),
        "revoked.map": "".join(ledger.revoked_map(number, now) for number in numbers),
        "identities.map": _lines(sorted(map(_identity_line, ledger.identities(numbers, now)))),
        "crl.pem": b"".join(crls).decode(),
    }
