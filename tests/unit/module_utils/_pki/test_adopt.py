"""A CA of a tutorial's making becomes one of the kit's: weaknesses told, what is unsafe refused, nobody cut off."""

from __future__ import annotations

import re
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.mtls.kit.plugins.module_utils._gateway import tls
from ansible_collections.mtls.kit.plugins.module_utils._gateway import trust as gateway_trust
from ansible_collections.mtls.kit.plugins.module_utils._pki import names, probe, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import TrustSpec
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, server
from tests.unit.module_utils._pki.blog import DN, PASSWORD, BlogCa
from tests.unit.module_utils._pki.rotating_fleet import Fleet


class Adopter(AuthorityHost):
    """A CA host at today's moment, for openssl knows no other, with the password of the old key at hand."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.adopt_password = PASSWORD


@pytest.fixture
def host(tmp_path: Path) -> Adopter:
    found = Adopter(tmp_path)
    found.now = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    return found


@pytest.fixture
def blog(tmp_path: Path) -> BlogCa:
    return BlogCa(tmp_path / "blog")


def openssl_says(host: Adopter, certificate: Path, purpose: str = "sslclient") -> str:
    """What OpenSSL says of a certificate under what the gateways trust, CRLs and all."""
    (unit,) = (host.store / "trust/issuing").iterdir()
    done = subprocess.run(
        ["openssl", "verify", "-purpose", purpose, "-attime", str(int(host.now.timestamp())), "-crl_check_all",
         "-CAfile", str(unit / "client-ca.crt"), "-CRLfile", str(unit / "crl.pem"), str(certificate)],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    return "OK" if done.returncode == 0 else done.stderr


def unit(host: Adopter) -> dict[str, str]:
    (folder,) = (host.store / "trust/issuing").iterdir()
    return {path.name: path.read_text() for path in folder.iterdir()}


def serial_of(certificate: Path) -> str:
    return names.serial_text(x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number)


def test_the_clients_of_before_stay_and_new_ones_come(host: Adopter, blog: BlogCa) -> None:
    alice = blog.make().sign("alice")
    changes = host.reasons(adopt=blog.wish(), certificates=[client("alice"), client("bob"), server(source="key")])
    assert changes["ca/issuing adopt"] == f"adopt: {DN}"
    assert changes["client/alice adopt"].startswith(f"adopt: serial {serial_of(alice)}, until ")
    assert changes["client/bob issue"] == "issue: new"
    assert "client/alice issue" not in changes
    assert host.reasons() == {}
    root, issuing = host.run().authorities
    assert (root["label"], root["subject"]) == ("root-g1", "CN=demo Root G1,O=Example Ltd")
    assert (issuing["label"], issuing["subject"], issuing["issuer"]) == ("issuing-g1", DN, None)
    for name in ("alice", "bob"):
        assert openssl_says(host, host.store / f"certificates/client/{name}/client.crt") == "OK"
    assert openssl_says(host, alice) == "OK"
    # A client that trusts nothing but the old ca.crt goes on recognising the servers.
    done = subprocess.run(
        ["openssl", "verify", "-purpose", "sslserver", "-attime", str(int(host.now.timestamp())), "-CAfile",
         str(blog.folder / "ca.crt"), str(host.store / "certificates/server/gw1/orders/server.crt")],
        capture_output=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 0
    files = unit(host)
    assert f'"{issuing["number"]}:{serial_of(alice)}" "alice|||' in files["identities.map"]
    assert files["issuers.map"] == (r'"~^emailAddress=ca@example\\.com,CN=My CA,O=Blog,C=DE$" "2";' + "\n")
    assert not (host.store / "certificates/client/alice/client.key").exists()


def test_a_gateway_takes_the_trust_of_an_adopted_ca(host: Adopter, blog: BlogCa) -> None:
    blog.make().sign("alice")
    result = host.run(adopt=blog.wish())
    found = gateway_trust.TrustUnit(**result.trust["issuing"])
    gateway_trust.check(found, host.now, "orders")


def test_the_key_is_kept_under_the_vaults_password_only(host: Adopter, blog: BlogCa) -> None:
    blog.make()
    result = host.run(adopt=blog.wish())
    assert any("the password of its key has fewer than 16 characters" in warning for warning in result.warnings)
    pem = (host.store / "authorities/issuing-g1/ca.key").read_bytes()
    assert load_pem_private_key(pem, b"password of ca/issuing")
    with pytest.raises(ValueError, match="password"):
        load_pem_private_key(pem, PASSWORD.encode())


def test_once_adopted_the_files_can_go(host: Adopter, blog: BlogCa) -> None:
    blog.make()
    host.run(adopt=blog.wish(clients=False))
    (blog.folder / "ca.key").unlink()
    (blog.folder / "ca.crt").unlink()
    host.adopt_password = ""
    assert host.reasons() == {}
    assert host.run(certificates=[client("carol")]).changes


def test_a_certificate_that_comes_up_later_is_entered_and_no_newer_one_replaced(host: Adopter, blog: BlogCa) -> None:
    old = blog.make().sign("alice")
    host.run(adopt=blog.wish(clients=False))
    host.run(certificates=[client("alice")])
    mine = host.leaf("client/alice")
    assert set(host.reasons(adopt=blog.wish())) == {"client/alice adopt", "trust/issuing write"}
    assert host.reasons() == {}
    assert host.leaf("client/alice") == mine
    assert serial_of(old) in unit(host)["identities.map"]


def test_revoked_by_name_it_is_out_and_the_next_one_has_the_kits_key(host: Adopter, blog: BlogCa) -> None:
    old = blog.make().sign("alice")
    host.run(adopt=blog.wish())
    changes = host.reasons(revoke=[{"name": "client/alice", "reason": "keyCompromise"}])
    assert changes["client/alice revoke"] == f"revoke: keyCompromise, serial {serial_of(old)}"
    assert serial_of(old) in unit(host)["revoked.map"]
    assert "certificate revoked" in openssl_says(host, old)
    assert host.reasons(revoke=[])["client/alice re-issue"] == "re-issue: revoked"
    assert (host.store / "certificates/client/alice/client.key").exists()
    assert host.reasons() == {}


def test_it_is_renewed_when_it_is_due_and_not_before(host: Adopter, blog: BlogCa) -> None:
    blog.make().sign("alice", days=100)
    host.run(adopt=blog.wish(), certificates=[client("alice", groups=["buyers"])])
    assert "alice|buyers|" in unit(host)["identities.map"]
    assert "client/alice renew" not in host.after(days=60).reasons()
    assert host.after(days=15).reasons()["client/alice renew"] == "renew: 24 of 100 days left"


def test_who_is_not_listed_is_reported(host: Adopter, blog: BlogCa) -> None:
    blog.make().sign("mallory")
    host.run(adopt=blog.wish(), certificates=[])
    assert [entry["name"] for entry in host.run().removed] == ["client/mallory"]


def test_a_verification_has_its_identities(host: Adopter, blog: BlogCa) -> None:
    blog.make()
    host.run(adopt=blog.wish())
    with store.opened(host.store, "demo", host.now) as opened:
        minted, _ = probe.mint(opened, [TrustSpec("issuing", ("issuing",))], host.passwords, "x" * 16, host.now)
    assert len(minted["issuing"]) == 6


def test_it_is_rotated_away_from_and_its_clients_get_in_until_it_retires(host: Adopter, blog: BlogCa) -> None:
    old = blog.make().sign("alice")
    host.arguments.update(adopt=blog.wish(), certificates=[client("alice")])
    fleet = Fleet(host)
    wish = {"kind": "issuing", "clients": "now", "confirmed": True}

    def lets_in(certificate: Path) -> bool:
        unit = host.store / f"trust/issuing/{fleet.served['trust']}"
        command = ["openssl", "verify", "-purpose", "sslclient", "-attime", str(int(host.now.timestamp()))]
        command += ["-CAfile", str(unit / "client-ca.crt"), "-untrusted", str(certificate), str(certificate)]
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0

    assert fleet.step(**wish) == "rotate: introduce issuing-g2"
    assert lets_in(old)
    assert fleet.step(**wish) == "rotate: switch: issuing-g2 replaces issuing-g1"
    new = host.store / "certificates/client/alice/client.crt"
    assert host.leaf("client/alice").issuer.rfc4514_string() == "CN=demo Issuing G2,O=Example Ltd"
    assert lets_in(old)
    assert lets_in(new)
    assert fleet.step(**wish) == "rotate: retire issuing-g1"
    assert lets_in(new)
    assert not lets_in(old)
    assert "My CA" not in (host.store / "trust-anchor.crt").read_text()
    assert (host.store / "trust-anchor.crt").read_text().count("BEGIN") == 1


def test_as_the_root_it_stands_above_the_kits_issuing_ca(host: Adopter, blog: BlogCa) -> None:
    old = blog.make().sign("alice")
    result = host.run(adopt=blog.wish("root"))
    assert any("is let in nowhere" in warning for warning in result.warnings)
    assert [(ca["label"], ca["issuer"]) for ca in result.authorities] == [("root-g1", None), ("issuing-g1", 1)]
    assert openssl_says(host, host.store / "certificates/client/bob/client.crt") == "OK"
    assert serial_of(old) not in unit(host)["identities.map"]
    assert "My CA" not in unit(host)["issuers.map"]
    assert host.reasons() == {}


def test_an_x509_version_1_is_adopted_and_told(host: Adopter, blog: BlogCa) -> None:
    alice = blog.make_v1().sign("alice")
    result = host.run(adopt=blog.wish())
    assert any("it is X.509 version 1" in warning for warning in result.warnings)
    assert openssl_says(host, alice) == openssl_says(host, host.store / "certificates/client/bob/client.crt") == "OK"
    gateway_trust.check(gateway_trust.TrustUnit(**result.trust["issuing"]), host.now, "orders")


# ---------------------------------------------------------------------- weaknesses


@pytest.mark.parametrize(
    ("key", "request_options", "found"),
    [
        (("-aes256", "2048"), (), "it has no key usage"),
        (("-aes256", "2048"), (), "it has no path length"),
        (("-aes256", "2048"), (), "its key is rsa-2048: it ends 2036"),
        (("-aes256", "2048"), (), "its key lay in "),
        (("-traditional", "-aes256", "2048"), (), "encrypted in the traditional form"),
        (("2048",), (), "its key is not encrypted"),
        (("-aes256", "2048"), ("-sha1",), "its own signature is made with SHA-1"),
        (("-aes256", "2048"), ("-days", "100"), "everything under it ends with it"),
        (("-aes256", "2048"), ("-addext", "keyUsage=keyCertSign"), "no cRLSign"),
        (("-aes256", "2048"), ("-addext", "basicConstraints=CA:TRUE"), "not critical"),
    ],
)
def test_each_weakness_is_told_in_the_check_and_in_the_run(
    host: Adopter, blog: BlogCa, key: tuple[str, ...], request_options: tuple[str, ...], found: str
) -> None:
    blog.make(*request_options, key=key)
    for dry in (True, False):
        warnings = host.run(adopt=blog.wish(), certificates=[], dry=dry).warnings
        (warning,) = [warning for warning in warnings if found in warning]
        assert re.fullmatch(r"issuing-g1: .+: .+; .+", warning)


def test_what_is_weak_about_the_clients_is_told(host: Adopter, blog: BlogCa) -> None:
    blog.make().sign("alice", days=3000)
    blog.sign("bob")
    warnings = host.run(adopt=blog.wish()).warnings
    assert any(warning.startswith("issuing-g1: 2 of what it signed may stand for a server") for warning in warnings)
    assert "issuing-g1: 1 of what it signed lives for more than 825 days" in warnings


def test_what_can_t_be_entered_is_told_and_the_rest_is(host: Adopter, blog: BlogCa, tmp_path: Path) -> None:
    blog.make().sign("alice")
    (blog.clients / "ca.pem").write_bytes((blog.folder / "ca.crt").read_bytes())
    (blog.clients / "notes.txt").write_text("not looked at")
    (blog.clients / "broken.crt").write_text("no certificate")
    (tmp_path / "ext").write_text("extendedKeyUsage=serverAuth\n")
    blog.sign("web", "-extfile", str(tmp_path / "ext"))
    blog.sign("first", "-set_serial", "01")
    blog.sign("second", "-set_serial", "01")
    blog.sign("weak", "-sha1")
    blog.sign("same")
    key = ("-passin", f"pass:{PASSWORD}")
    blog.openssl(
        "req",
        "-new",
        "-key",
        "ca.key",
        *key,
        "-out",
        "s.csr",
        "-subj",
        "/C=DE/O=Blog/CN=My CA/emailAddress=ca@example.com",
    )
    blog.openssl(
        "x509",
        "-req",
        "-in",
        "s.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        *key,
        "-out",
        str(blog.clients / "same.crt"),
    )
    other = BlogCa(tmp_path / "other").make()
    (blog.clients / "stranger.crt").write_bytes(other.sign("stranger").read_bytes())
    result = host.run(adopt=blog.wish(), certificates=[])
    entered = {change.name for change in result.changes if change.action == "adopt"}
    assert entered == {"ca/issuing", "client/alice", "client/first"}
    told = " | ".join(result.warnings)
    for name, why in (
        ("broken.crt", "no certificate in PEM"),
        ("web.crt", "it is no client's"),
        ("second.crt", "another one has its serial 01"),
        ("weak.crt", "signed with SHA1"),
        ("same.crt", "error 18"),
        ("stranger.crt", "this CA has not signed it"),
    ):
        assert re.search(rf"{name} was not entered: [^|]*{why}", told), name
    assert host.reasons() == {}


def test_a_client_is_named_by_its_common_name_or_else_its_file(host: Adopter, blog: BlogCa) -> None:
    blog.make().sign("x1", common_name="alice")
    blog.sign("batch-7", common_name="Nightly batch")
    result = host.run(adopt=blog.wish(), certificates=[])
    assert {"client/alice", "client/batch-7"} <= {change.name for change in result.changes}
    blog.sign("no name", common_name="no name either")
    with pytest.raises(KitError, match="name the file after the client"):
        host.run()


# ---------------------------------------------------------------------- refusals


def refused(host: Adopter, found: str, **more: Any) -> None:
    with pytest.raises(KitError, match=found):
        host.run(**more)
    assert not (host.store / "authorities").exists()


@pytest.mark.parametrize(
    ("key", "request_options", "found"),
    [
        (("-aes256", "1024"), (), "a key of type rsa-1024"),
        (("-aes256", "2048"), ("-md5",), "a signature with MD5"),
        (("-aes256", "2048"), ("-addext", "basicConstraints=critical,CA:FALSE"), "not a CA's"),
        (("-aes256", "2048"), ("-addext", "keyUsage=digitalSignature"), "without keyCertSign"),
    ],
)
def test_what_no_verifier_would_accept_is_refused(
    host: Adopter, blog: BlogCa, key: tuple[str, ...], request_options: tuple[str, ...], found: str
) -> None:
    blog.make(*request_options, key=key)
    refused(host, found, adopt=blog.wish())


def test_an_expired_ca_is_refused(host: Adopter, blog: BlogCa) -> None:
    blog.make(days=1)
    host.after(days=2)
    refused(host, "a life from", adopt=blog.wish())


def test_a_wrong_password_and_another_key_are_refused(host: Adopter, blog: BlogCa, tmp_path: Path) -> None:
    blog.make()
    host.adopt_password = "wrong"
    refused(host, "the password does not open it", adopt=blog.wish())
    host.adopt_password = ""
    refused(host, "an encrypted key and no password")
    host.adopt_password = PASSWORD
    other = BlogCa(tmp_path / "other").make()
    refused(host, "a key that does not belong to the certificate", adopt={**blog.wish(), "key": other.wish()["key"]})


def test_an_intermediate_is_refused(host: Adopter, blog: BlogCa, tmp_path: Path) -> None:
    (tmp_path / "ext").write_text("basicConstraints=critical,CA:TRUE\n")
    below = blog.make().sign("below", "-extfile", str(tmp_path / "ext"))
    refused(host, "another CA has signed it", adopt={**blog.wish(), "certificate": str(below)})


def test_a_root_that_may_sign_no_ca_is_no_root(host: Adopter, blog: BlogCa) -> None:
    blog.make("-addext", "basicConstraints=critical,CA:TRUE,pathlen:0", "-addext", "keyUsage=keyCertSign,cRLSign")
    refused(host, "pathlen 0", adopt=blog.wish("root"))
    host.run(adopt=blog.wish())
    assert openssl_says(host, host.store / "certificates/client/bob/client.crt") == "OK"


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"name": "nobody"}, "one of root, issuing"),
        ({"key": None}, "add key to pki_adopt"),
        ({"certificate": "/nowhere/ca.crt"}, "No such file"),
        ({"key": "/nowhere/ca.key"}, "No such file"),
        ({"certificates_folder": "/nowhere"}, "No such file"),
    ],
)
def test_bad_wishes_are_named(host: Adopter, blog: BlogCa, more: dict[str, str], found: str) -> None:
    blog.make()
    refused(host, found, adopt={**blog.wish(), **more})


def test_an_authority_that_is_made_can_t_be_another_one(host: Adopter, blog: BlogCa) -> None:
    host.run()
    blog.make()
    with pytest.raises(KitError, match="issuing-g1 is made already"):
        host.run(adopt=blog.wish())
    issuing = [*host.arguments["issuing"], {"name": "old", "purposes": ["client"], "key_type": "ec-p256", "days": 9}]
    assert host.reasons(adopt=blog.wish("old"), issuing=issuing)["ca/old adopt"] == f"adopt: {DN}"
    assert (
        (host.store / "trust-anchor.crt").read_text().endswith((host.store / "authorities/old-g1/ca.crt").read_text())
    )
    assert host.reasons() == {}


def test_an_ec_key_of_openssl_is_adopted(host: Adopter, blog: BlogCa) -> None:
    blog.openssl("ecparam", "-name", "prime256v1", "-genkey", "-out", "ca.key")
    blog.openssl("req", "-x509", "-new", "-key", "ca.key", "-days", "3650", "-subj", "/CN=EC", "-out", "ca.crt")
    result = host.run(adopt=blog.wish())
    assert isinstance(
        load_pem_private_key((host.store / "authorities/issuing-g1/ca.key").read_bytes(), b"password of ca/issuing"),
        ec.EllipticCurvePrivateKey,
    )
    assert result.authorities[1]["key_type"] == "ec-p256"


@pytest.mark.parametrize(
    ("request_options", "strict"),
    [((), False), (("-addext", "keyUsage=critical,keyCertSign,cRLSign"), True)],
)
def test_a_probe_is_strict_unless_the_anchor_can_t_bear_it(
    blog: BlogCa, request_options: tuple[str, ...], strict: bool
) -> None:
    blog.make(*request_options)
    context = tls.verified((blog.folder / "ca.crt").read_text())
    assert bool(context.verify_flags & ssl.VERIFY_X509_STRICT) is strict
