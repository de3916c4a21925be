"""The README of a client's bundle: for that client alone, and without a secret."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.keystores import TRUSTSTORE_PASSWORD
from ansible_collections.mtls.kit.plugins.module_utils._pki.platforms import (
    COMPATIBLE_ARCHIVE,
    RUN,
    TRUSTSTORE,
)

MADE_HERE = "made here"
BROUGHT = "brought"
HANDED_OVER = "handed over"
"""Where a client's key is: in its folder, with the client that brought a request, or with it since a hand-over."""

SEALED = "bundle.zip"


@dataclass(frozen=True)
class Page:
    """What a README is about. ``key`` is one of the three words above; ``files`` are the names in the folder."""

    client: str
    leaf: x509.Certificate
    chain: Sequence[x509.Certificate]
    urls: Sequence[str]
    vault: str
    key: str
    files: Collection[str]

    def text(self) -> str:
        """The page, in Markdown."""
        urls = self.urls or ("https://<address>/",)
        issuer = "".join(f", issued by `{ca.subject.rfc4514_string()}`" for ca in self.chain[:1])
        return f"""# Access for {self.client}

| | |
| --- | --- |
| Valid until | {clock.not_after(self.leaf):%Y-%m-%d %H:%M} UTC |
| Certificate | `{self.leaf.subject.rfc4514_string()}`{issuer} |
| Serial number | `{names.serial_text(self.leaf.serial_number)}` |
| Address | {", ".join(urls)} |

## Files

| file | what it is |
| --- | --- |
{self._files()}
{self._key_place()}
## Call it

{self._call(urls[0])}
{self._code()}
## When it does not work

- `400` and `no client certificate sent`: the request carried no certificate. Check `--cert` and `--key`.
- `400` and `client certificate expired`: ask for a new bundle; the date above has passed.
- `400` and `issuer of the client certificate unknown here`: this bundle is for another address. Check the one above.
- `403`: the certificate is known and was revoked, or may not use this address.
- `unable to get local issuer certificate` on your side: `--cacert trust-anchor.crt` is missing. Never switch the check
  off (`-k`): you would talk to whoever answers.

## Before it expires

You are handed this folder anew, with the same file names; put it in place of the old one. What your program has to do
then is said at the top of its file here; what is not listed there is started again.
"""

    def _files(self) -> str:
        told = {
            "client.crt": "your certificate and the issuing CA's, PEM; present both",
            "client.key": "your private key, encrypted (PKCS#8, AES-256); never pass it on",
            "client.p12": "certificate and key in one file, for browsers and key stores (AES-256), same password",
            COMPATIBLE_ARCHIVE: "the same for Apple's keychains and old Android (PKCS#12, triple DES), same password",
            "trust-anchor.crt": "the root you recognise the server by",
            TRUSTSTORE: f"the same for Java; its password is `{TRUSTSTORE_PASSWORD}`, for nothing in it is secret",
            SEALED: "all of this folder, encrypted (ZIP with AES-256), same password: 7-Zip, bsdtar and Keka open it",
            "bundle.json": "which certificate this folder holds, for tools",
        }
        return "".join(f"| `{name}` | {text} |\n" for name, text in told.items() if name in self.files)

    def _key_place(self) -> str:
        if self.key == BROUGHT:
            return """The private key is not in this folder: you made it, and it never left you. The certificate fits
the key of the request that you brought, and no other.
"""
        if self.key == HANDED_OVER:
            return """The private key is not in this folder: you have it since you were handed this certificate, and
nobody kept a copy. Keep your `client.key` and `client.p12`; take the other files from here.
"""
        return f"""The password of `client.key` and `client.p12` is not in this folder. It is in {self.vault}, under
`client/{self.client}`; whoever handed you the folder passes it on by another way.
"""

    def _call(self, url: str) -> str:
        if self.key == BROUGHT:
            return f"""In this folder, with the file of your own key:

    curl --cert client.crt --key <your key> --cacert trust-anchor.crt {url}
"""
        return f"""In this folder; curl asks for the password:

    curl --cert client.crt --key client.key --cacert trust-anchor.crt {url}
"""

    def _code(self) -> str:
        rows = "".join(f"| `{name}` | `{run}` |\n" for name, run in RUN.items() if name in self.files)
        if not rows:
            return ""
        return f"""
The programs here do the same, and can be taken as they are. They read the password from
`~/.config/mtls/{self.client}.password`, or from the file that `MTLS_PASSWORD_FILE` names: mode 0600, one line, outside
this folder.

| file | run it |
| --- | --- |
{rows}{self._own_key()}"""

    def _own_key(self) -> str:
        if self.key != BROUGHT:
            return ""
        return """
They look for your key, encrypted, as `client.key` beside them. A `client.p12` is made of it by

    openssl pkcs12 -export -in client.crt -inkey client.key -out client.p12
"""
