"""Requests that others bring: what is honoured, and that each hostile one is named and none is signed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki import csr_folder, csr_policy, keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client

KEY = keys.generate("ec-p256")
OTHER = keys.generate("ec-p256")
PARTNER = client("partner", source="csr", groups=["partners"])
OTHER_NAME = x509.SubjectAlternativeName([x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00")])
SAN_POLICY = {"honour": ["san"], "permitted": {"dns": ["partner.example.com"], "uri": ["partner.example.com"]}}


def request(
    key: Any = KEY, *extensions: x509.ExtensionType, common_name: str = "whoever", algorithm: Any = None
) -> bytes:
    """A request in PEM with these wishes."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, algorithm or hashes.SHA256()).public_bytes(Encoding.PEM)


def san(*dns: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in dns])


@pytest.fixture
def folder(host: AuthorityHost, tmp_path: Path) -> Path:
    """The folder of a CA host that waits for one partner's request."""
    host.requests = tmp_path / "requests"
    host.requests.mkdir(mode=0o750)
    host.arguments["certificates"] = [client("alice"), PARTNER]
    return host.requests


def issued(host: AuthorityHost, name: str = "partner") -> bool:
    return (host.store / f"certificates/client/{name}/client.crt").exists()


def public_key(certificate: x509.Certificate) -> bytes:
    return keys.public_key_der(certificate.public_key())  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["partner.csr", "client/partner.csr"])
def test_of_a_request_the_key_is_taken_and_nothing_else(host: AuthorityHost, folder: Path, place: str) -> None:
    (folder / "client").mkdir()
    waits = host.run()
    assert (waits.csr_wanted, host.refused) == ({"client/partner": "issue: new"}, {})
    (folder / place).write_bytes(request(KEY, san("evil.example.com"), common_name="root"))
    found = host.after(minutes=1).run()
    assert (found.csr_wanted, host.refused) == ({}, {})
    leaf = host.leaf("client/partner")
    assert public_key(leaf) == keys.public_key_der(KEY.public_key())
    assert names.dn(names.subject_of(leaf.subject)) == "CN=partner,O=Example Ltd"
    assert host.leaf("client/partner").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:mtls:demo:partner"]
    assert not (host.store / "certificates/client/partner/client.key").exists()
    assert host.verify("client/partner", "sslclient") == "OK"
    assert "partner|partners|" in found.trust["issuing"]["files"]["identities.map"]
    assert host.reasons() == {}


def test_a_new_request_is_a_new_key_and_says_so(host: AuthorityHost, folder: Path) -> None:
    (folder / "partner.csr").write_bytes(request(KEY))
    host.run()
    (folder / "partner.csr").write_bytes(request(OTHER))
    assert host.after(minutes=1).reasons()["client/partner re-issue"] == "re-issue: new key in the request"
    (folder / "partner.csr").unlink()
    assert host.after(minutes=1).reasons() == {}
    assert public_key(host.leaf("client/partner")) == keys.public_key_der(OTHER.public_key())


def test_a_client_that_makes_its_own_key_from_now_on(host: AuthorityHost, folder: Path) -> None:
    host.run(certificates=[client("alice"), client("partner")])
    (folder / "partner.csr").write_bytes(request(KEY))
    found = host.after(minutes=1).reasons(certificates=[client("alice"), client("partner", source="csr")])
    assert found["client/partner re-issue"] == "re-issue: key source changed"
    assert not (host.store / "certificates/client/partner/client.key").exists()
    assert host.reasons() == {}


def test_a_key_of_any_type_that_the_profile_allows(host: AuthorityHost, folder: Path) -> None:
    key = keys.generate("rsa-2048")
    (folder / "partner.csr").write_bytes(request(key))
    host.run()
    assert public_key(host.leaf("client/partner")) == keys.public_key_der(key.public_key())
    (folder / "partner.csr").unlink()
    assert host.after(minutes=1).reasons() == {}


def test_honoured_names_stay_when_the_request_is_gone(host: AuthorityHost, folder: Path) -> None:
    partner = {**PARTNER, "csr": {**SAN_POLICY, "honour": ["san", "common_name"]}}
    partner["csr"]["permitted"] = {**SAN_POLICY["permitted"], "common_name": ["Partner *"]}  # type: ignore[dict-item]
    (folder / "partner.csr").write_bytes(request(KEY, san("a.partner.example.com"), common_name="Partner Ltd"))
    host.run(certificates=[client("alice"), partner])
    assert host.refused == {}
    leaf = host.leaf("client/partner")
    assert names.dn(names.subject_of(leaf.subject)) == "CN=Partner Ltd,O=Example Ltd"
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == san("a.partner.example.com")
    assert host.after(minutes=1).reasons() == {}
    (folder / "partner.csr").unlink()
    assert host.after(minutes=1).reasons() == {}
    narrower = {**partner, "csr": {"honour": ["san"], "permitted": {"dns": ["other.example.com"]}}}
    waits = host.after(minutes=1).run(certificates=[client("alice"), narrower])
    assert waits.csr_wanted == {"client/partner": "re-issue: subject changed"}


def test_a_profile_says_it_for_all_its_clients_and_a_client_for_itself(host: AuthorityHost, folder: Path) -> None:
    profile = {"name": "partners", "extended_key_usage": ["clientAuth"], "csr": SAN_POLICY}
    partner = {**PARTNER, "profile": "partners"}
    (folder / "partner.csr").write_bytes(request(KEY, san("a.partner.example.com")))
    host.run(profiles=[profile], certificates=[partner])
    leaf = host.leaf("client/partner")
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == san("a.partner.example.com")
    (folder / "partner.csr").write_bytes(request(OTHER, san("a.partner.example.com")))
    own = {"honour": ["san"], "permitted": {"dns": ["other.example.com"]}}
    host.run(certificates=[{**partner, "csr": own}])
    assert "within csr.permitted" in host.refused["partner.csr"]
    limitless = {**profile, "csr": {"honour": ["san"]}}
    with pytest.raises(KitError, match="profile 'partners', csr: found names of requests that are honoured without"):
        host.run(profiles=[limitless])


@pytest.mark.parametrize(
    ("extensions", "common_name", "found"),
    [
        ([san("evil.example.com")], "x", "DNS name 'evil.example.com', which is not within partner.example.com"),
        ([san("partner.example.com", "partner.example.com.evil")], "x", "'partner.example.com.evil'"),
        ([x509.SubjectAlternativeName([x509.RFC822Name("root@example.com")])], "x", "no email at all"),
        ([OTHER_NAME], "x", "OtherName"),
        ([], "demo Root G1", "common name 'demo Root G1'"),
        ([], "evil", "common name 'evil'"),
    ],
)  # fmt: skip
def test_names_beyond_the_limits_are_refused(
    host: AuthorityHost, folder: Path, extensions: list[x509.ExtensionType], common_name: str, found: str
) -> None:
    policy = {"honour": ["san", "common_name"], "permitted": {"dns": ["partner.example.com"], "common_name": ["x"]}}
    (folder / "partner.csr").write_bytes(request(KEY, *extensions, common_name=common_name))
    host.run(certificates=[client("alice"), {**PARTNER, "csr": policy}])
    assert found in host.refused["partner.csr"]
    assert issued(host, "alice")
    assert not issued(host)


def test_the_name_of_a_ca_is_nobodys(host: AuthorityHost, folder: Path) -> None:
    policy = {"honour": ["common_name"], "permitted": {"common_name": ["*"]}}
    (folder / "partner.csr").write_bytes(request(KEY, common_name="DEMO issuing  G1"))
    host.run(certificates=[client("alice"), {**PARTNER, "csr": policy}])
    assert "the subject of a CA of this PKI" in host.refused["partner.csr"]
    assert not issued(host)


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ({"honour": ["san"]}, "honoured without a limit"),
        ({"honour": ["common_name"], "permitted": {"dns": ["a.example.com"]}}, "honoured without a limit"),
        ({"honour": ["everything"]}, "'everything'"),
        ({"honour": ["san"], "permitted": {"other": ["x"]}}, "'other'"),
    ],
)
def test_a_policy_without_limits_is_refused(policy: dict[str, Any], found: str) -> None:
    with pytest.raises(KitError, match=found):
        csr_policy.read(policy, "certificate 'client/x'", ("ec-p256",))


def test_a_policy_belongs_to_a_request(host: AuthorityHost) -> None:
    with pytest.raises(KitError, match="a key that the CA makes"):
        host.run(certificates=[client("alice", csr=SAN_POLICY)])


def tampered() -> bytes:
    der = bytearray(x509.load_pem_x509_csr(request()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)


def weak_signature() -> bytes:
    # The library no longer signs with SHA-1; openssl(1) still does.
    key = rsa.generate_private_key(65537, 2048)
    pem = keys.encrypted_pem(key, b"x" * 20)
    command = ["openssl", "req", "-new", "-sha1", "-subj", "/CN=x", "-key", "/dev/stdin", "-passin", "pass:" + "x" * 20]
    return subprocess.run(command, input=pem, capture_output=True, check=True, timeout=20).stdout


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "0 PEM blocks"),
    "garbage": (lambda: os.urandom(2000), "0 PEM blocks"),
    "a huge file": (lambda: b"-" * (csr_folder.LARGEST + 1), "more than 65,536 bytes"),
    "no request": (lambda: request()[:40] + b"\n-----END CERTIFICATE REQUEST-----\n", "readable"),
    "two requests": (lambda: request() + request(OTHER), "2 PEM blocks"),
    "a private key": (lambda: request() + keys.encrypted_pem(KEY, b"x" * 20), "a private key in it"),
    "a wrong signature": (tampered, "a wrong signature"),
    "SHA-1": (weak_signature, "a signature with SHA1"),
    "a weak key": (lambda: request(rsa.generate_private_key(65537, 1024)), "rsa-1024"),  # noqa: S505
    "a small exponent": (lambda: request(rsa.generate_private_key(3, 2048)), "exponent 3"),
    "an odd curve": (lambda: request(ec.generate_private_key(ec.SECP521R1())), "secp521r1"),
    "CA:TRUE": (lambda: request(KEY, x509.BasicConstraints(ca=True, path_length=0)), "CA:TRUE"),
    "signing": (
        lambda: request(
            KEY,
            x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
            ),
        ),
        "asks to sign certificates",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_request_is_named_and_not_signed(host: AuthorityHost, folder: Path, kind: str) -> None:
    make, found = HOSTILE[kind]
    (folder / "partner.csr").write_bytes(make())
    result = host.run()
    assert found in host.refused["partner.csr"]
    assert result.csr_wanted == {"client/partner": "issue: new"}
    assert issued(host, "alice")
    assert not issued(host)
    # The whole sentence: what, found, expected, next.
    assert all(word in host.refused["partner.csr"] for word in ("partner", "found", "expected", "Next:"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("stranger.csr", "a client that is not listed"),
        ("alice.csr", "a client whose key the CA makes"),
        ("partner.pem", "a name without .csr"),
        (".csr", "a name that no client can have"),
        ("..partner.csr", "a name that no client can have"),
        ("part ner.csr", "a name that no client can have"),
        ("server_gw1.csr\n", "a name without .csr"),
        ("-rf.csr", "a name that no client can have"),
        (os.fsdecode(b"\xff\xfe.csr"), "a name that no client can have"),
    ],
)
def test_file_names_with_tricks(host: AuthorityHost, folder: Path, name: str, found: str) -> None:
    (folder / name).write_bytes(request())
    host.run()
    ((path, reason),) = host.refused.items()
    assert found in reason
    assert path.isascii()
    assert path.isprintable()
    assert not any(issued(host, other) for other in ("partner", "stranger"))


def test_links_pipes_and_folders_are_not_read(host: AuthorityHost, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csr").write_bytes(request())
    (folder / "partner.csr").symlink_to(tmp_path / "elsewhere.csr")
    host.run()
    assert "a symbolic link" in host.refused["partner.csr"]
    (folder / "partner.csr").unlink()
    os.mkfifo(folder / "partner.csr")
    host.run()
    assert "no regular file" in host.refused["partner.csr"]
    (folder / "partner.csr").unlink()
    (folder / "partner.csr").mkdir()
    host.run()
    assert "no regular file" in host.refused["partner.csr"]
    (folder / "partner.csr").rmdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "real/partner.csr").write_bytes(request())
    (folder / "client").symlink_to(tmp_path / "real")
    host.run()
    assert host.refused.keys() == {"client"}
    assert not issued(host)


def test_a_folder_that_is_not_safe(host: AuthorityHost, folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(KitError, match="everybody may write"):
        host.run()
    folder.chmod(0o750)
    (folder / "client").mkdir()
    (folder / "client").chmod(0o777)
    (folder / "client/partner.csr").write_bytes(request())
    host.run()
    assert "everybody may write" in host.refused["client/"]
    assert not issued(host)
    host.requests = folder / "missing"
    with pytest.raises(KitError, match="No such file"):
        host.run()


def test_two_files_for_one_client(host: AuthorityHost, folder: Path) -> None:
    (folder / "client").mkdir()
    for place in ("partner.csr", "client/partner.csr"):
        (folder / place).write_bytes(request())
    host.run()
    assert sorted(host.refused) == ["client/partner.csr", "partner.csr"]
    assert not issued(host)


def test_one_key_is_one_clients(host: AuthorityHost, folder: Path) -> None:
    both = [client("alice"), PARTNER, client("copycat", source="csr")]
    for name in ("partner", "copycat"):
        (folder / f"{name}.csr").write_bytes(request(KEY, common_name=name))
    host.run(certificates=both)
    assert "the key of client/copycat" in host.refused["partner.csr"]
    assert "the key of client/partner" in host.refused["copycat.csr"]
    assert not issued(host)
    # Whose it is already keeps it.
    (folder / "copycat.csr").unlink()
    host.run()
    (folder / "copycat.csr").write_bytes(request(KEY))
    host.after(minutes=1).run()
    assert host.refused.keys() == {"copycat.csr"}
    assert issued(host)
    assert not issued(host, "copycat")


def test_a_compromised_key_stays_out_and_its_revocation_goes_through(host: AuthorityHost, folder: Path) -> None:
    (folder / "partner.csr").write_bytes(request())
    host.run()
    serial = names.serial_text(host.leaf("client/partner").serial_number)
    found = host.after(minutes=1).run(revoke=[{"serial": serial, "reason": "keyCompromise"}])
    assert [change.action for change in found.changes if change.name == "client/partner"] == ["revoke"]
    assert "revoked as compromised" in host.refused["partner.csr"]
    host.after(minutes=1).run(revoke=[])
    assert "revoked as compromised" in host.refused["partner.csr"]
    (folder / "partner.csr").write_bytes(request(OTHER))
    assert host.after(minutes=1).reasons()["client/partner re-issue"] == "re-issue: revoked"


def test_names_a_constrained_ca_may_not_sign_stop_nobody_else(host: AuthorityHost, folder: Path) -> None:
    issuing = [{**host.arguments["issuing"][0], "name_constraints": {"permitted": {"dns": ["ours.example.com"]}}}]
    (folder / "partner.csr").write_bytes(request(KEY, san("a.partner.example.com")))
    host.run(issuing=issuing, certificates=[client("alice"), {**PARTNER, "csr": SAN_POLICY}])
    assert "name constraints of its issuing CA" in host.refused["partner.csr"]
    assert issued(host, "alice")


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_in_a_file_is_refused_or_signed(folder: Path, host: AuthorityHost, noise: bytes, cut: bool) -> None:
    good = request()
    (folder / "partner.csr").write_bytes(good[: len(noise)] + noise if cut else good[:-30] + noise + good[-30:])
    host.run(dry=True)
    assert set(host.refused) <= {"partner.csr"}
