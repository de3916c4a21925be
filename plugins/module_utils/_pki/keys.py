"""Private keys: making them, keeping them encrypted, and opening them with a clear answer when that fails."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

_MAKERS: Final[Mapping[str, Callable[[], PrivateKey]]] = {
    "ec-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ec-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
KEY_TYPES: Final = tuple(_MAKERS)


def check_key_type(key_type: str, owner: str) -> str:
    """Return ``key_type``, or raise KitError naming what is allowed."""
    if key_type not in _MAKERS:
        expected = "one of " + ", ".join(KEY_TYPES)
        raise KitError(owner, f"the key type {key_type!r}", expected, "choose a key type; RSA begins at 2048 bits")
    return key_type


def generate(key_type: str) -> PrivateKey:
    """A new key of one of KEY_TYPES."""
    return _MAKERS[key_type]()


def key_type_of(key: Any) -> str | None:
    """The key type of a public or private key; None for one that the kit does not sign or use."""
    if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)):
        return {"secp256r1": "ec-p256", "secp384r1": "ec-p384"}.get(key.curve.name)
    if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
        return {2048: "rsa-2048", 3072: "rsa-3072", 4096: "rsa-4096"}.get(key.key_size)
    if isinstance(key, (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey)):
        return "ed25519"
    return None


def describe(key: Any) -> str:
    """A key in a message's words: ``rsa-1024``, ``secp521r1``."""
    if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
        return f"rsa-{key.key_size}"
    if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)):
        return key_type_of(key) or key.curve.name
    return key_type_of(key) or type(key).__name__


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """The hash a signer uses: as strong as its curve, and none beside Ed25519 (RFC 8410 section 3)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def public_key_der(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo in DER (RFC 5280 section 4.1.2.7)."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_key_sha256(key: PublicKey) -> str:
    """SHA-256 over SubjectPublicKeyInfo, lower-case hex."""
    return hashlib.sha256(public_key_der(key)).hexdigest()


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether ``issuer`` really signed ``certificate`` (its name alone proves nothing)."""
    key = issuer.public_key()
    signature, content = certificate.signature, certificate.tbs_certificate_bytes
    algorithm = certificate.signature_hash_algorithm
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, content)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(signature, content, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(signature, content, padding.PKCS1v15(), algorithm)
        else:
            return False
    except InvalidSignature:
        return False
    return certificate.issuer == issuer.subject


def check_password(password: str, path: str) -> bytes:
    """The password's bytes; KitError when Nginx could not read it back from a file of one line.

    How strong it is, is judged where it is made (role key_password).
    """
    if not password:
        raise KitError(f"password of {path}", "an empty one", "a password", "let key_password generate it")
    if any(character in password for character in "\n\r\0"):
        raise KitError(
            f"password of {path}",
            "a line break or NUL in it",
            "one line of text, for Nginx reads a password file by lines",
            "replace the password in the vault",
        )
    return password.encode()


def encrypted_pem(key: PrivateKey, password: bytes) -> bytes:
    """``key`` as PKCS#8 under PBES2 with AES-256-CBC and PBKDF2-HMAC-SHA256, which every consumer reads."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )


def plain_pem(key: PrivateKey) -> bytes:
    """``key`` as PKCS#8 without a password (RFC 5958), for those who accept that."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_plain(pem: bytes) -> PrivateKey | None:
    """The key in ``pem`` when it is one that no password protects, else None."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)) else None


def load_encrypted(pem: bytes, password: bytes, what: str) -> PrivateKey:
    """The key in ``pem``; KitError for a wrong password, no password at all on it, or no key."""
    try:
        key = serialization.load_pem_private_key(pem, password)
    except TypeError:
        raise KitError(what, "a key that is not encrypted", "an encrypted PKCS#8 key", "encrypt it") from None
    except (ValueError, UnsupportedAlgorithm):
        if b"ENCRYPTED PRIVATE KEY" in pem:
            raise KitError(
                what,
                "that the password does not open the key",
                "the password it was encrypted with",
                "check that the vault is the one this store was made with",
            ) from None
        raise KitError(what, "no private key in PEM", "an encrypted PKCS#8 key", "restore it from a backup") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        raise KitError(what, describe(key), "one of " + ", ".join(KEY_TYPES), "use a key of one of these types")
    return key
