"""Bundles: what is written, why, and that nothing is written when something is wrong."""

from __future__ import annotations

import datetime
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from ansible_collections.mtls.kit.plugins.filter.client_code import client_code
from ansible_collections.mtls.kit.plugins.module_utils._pki import bundle, platforms
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import public_key_der

NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
TEMPLATES = Path(__file__).resolve().parents[4] / "roles/client_bundle/templates"
PASSWORDS = {"client/alice": "secret-of-alice", "client/bob": "secret-of-bob"}


class Store:
    """A store as the role pki hands it out: one root, clients signed by it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._certificate("Root G1", self._root_key)
        (path / bundle.TRUST_ANCHOR).write_bytes(self.root.public_bytes(serialization.Encoding.PEM))

    def _certificate(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        def named(common_name: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])

        builder = x509.CertificateBuilder(named("Root G1"), named(name), key.public_key(), x509.random_serial_number())
        validity = builder.not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=90))
        return validity.sign(self._root_key, hashes.SHA256())

    def issue(self, client: str, password: str | None = None) -> x509.Certificate:
        """Issue for the first time or anew, with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(client, key)
        folder = self.path / "certificates" / "client" / client
        folder.mkdir(parents=True, exist_ok=True)
        pem = serialization.Encoding.PEM
        folder.joinpath(bundle.CERTIFICATE).write_bytes(certificate.public_bytes(pem) + self.root.public_bytes(pem))
        encryption = serialization.BestAvailableEncryption((password or PASSWORDS[f"client/{client}"]).encode())
        folder.joinpath(bundle.KEY).write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
        return certificate


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.issue("alice")
    made.issue("bob")
    return made


@pytest.fixture
def settings(store: Store, tmp_path: Path) -> bundle.Settings:
    return bundle.Settings(
        store=store.path,
        directory=tmp_path / "bundles",
        urls=("https://api.example.com/",),
        vault="the vault of the tests",
        code=client_code(["https://api.example.com/"], str(TEMPLATES)),
        platforms=tuple(platforms.PLATFORMS),
        sealed=True,
    )


def run(settings: bundle.Settings, *clients: str) -> dict[str, str]:
    """Plan and write; the reasons by client."""
    plan = bundle.plan(settings, clients or ("alice", "bob"), PASSWORDS)
    for item in plan.due:
        bundle.write(settings, item)
    return {item.client: item.reason for item in plan.due}


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_folder_has_every_file_with_its_mode(settings: bundle.Settings) -> None:
    assert run(settings) == {"alice": "new client", "bob": "new client"}
    folder = settings.directory / "alice"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == bundle.FILE_MODES
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(settings.directory.stat().st_mode) == 0o700


def test_the_archive_holds_key_certificate_and_chain(settings: bundle.Settings, store: Store) -> None:
    run(settings)
    archive = (settings.directory / "alice" / bundle.ARCHIVE).read_bytes()
    key, certificate, chain = pkcs12.load_key_and_certificates(archive, PASSWORDS["client/alice"].encode())
    assert key is not None
    assert certificate is not None
    assert public_key_der(key.public_key()) == public_key_der(certificate.public_key())
    assert chain == [store.root]


def test_the_readme_names_the_expiry_and_the_vault_and_holds_no_password(settings: bundle.Settings) -> None:
    run(settings)
    text = (settings.directory / "alice" / bundle.README).read_text()
    assert "2026-05-30 12:00 UTC" in text
    assert "the vault of the tests" in text
    assert "`client/alice`" in text
    assert "--cacert trust-anchor.crt https://api.example.com/" in text
    assert PASSWORDS["client/alice"] not in text
    assert "bob" not in text


def test_no_file_beside_the_key_holds_the_password(settings: bundle.Settings) -> None:
    run(settings)
    for path in settings.directory.glob("*/*"):
        assert PASSWORDS[f"client/{path.parent.name}"].encode() not in path.read_bytes()


def test_a_second_run_writes_nothing(settings: bundle.Settings) -> None:
    run(settings)
    before = content(settings.directory / "alice")
    assert run(settings) == {}
    assert content(settings.directory / "alice") == before


def test_one_new_client_touches_one_folder(settings: bundle.Settings) -> None:
    run(settings, "alice")
    before = content(settings.directory / "alice")
    assert run(settings, "alice", "bob") == {"bob": "new client"}
    assert content(settings.directory / "alice") == before


def test_a_plan_alone_writes_nothing(settings: bundle.Settings) -> None:
    assert len(bundle.plan(settings, ["alice", "bob"], PASSWORDS).due) == 2
    assert not settings.directory.exists()


def test_a_new_certificate_is_handed_on(settings: bundle.Settings, store: Store) -> None:
    run(settings)
    certificate = store.issue("alice")
    assert run(settings) == {"alice": "new certificate"}
    manifest = json.loads((settings.directory / "alice" / bundle.MANIFEST).read_text())
    assert int(manifest["serial"], 16) == certificate.serial_number
    assert run(settings) == {}


@pytest.mark.parametrize("name", sorted(set(bundle.FILE_MODES) - {bundle.MANIFEST}))
def test_a_missing_or_altered_file_is_written_again(settings: bundle.Settings, name: str) -> None:
    run(settings)
    path = settings.directory / "alice" / name
    path.unlink()
    assert run(settings) == {"alice": f"{name} missing"}
    path.chmod(0o600)
    assert run(settings) == {"alice": f"mode of {name} was 0600"}
    path.chmod(0o600)
    path.write_bytes(b"altered")
    path.chmod(bundle.FILE_MODES[name])
    assert run(settings) == {"alice": f"{name} altered"}
    assert run(settings) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 1}'])
def test_an_altered_manifest_is_written_again(settings: bundle.Settings, text: str) -> None:
    run(settings)
    (settings.directory / "alice" / bundle.MANIFEST).write_text(text)
    assert run(settings) == {"alice": "bundle.json missing or altered"}
    assert run(settings) == {}


def test_a_new_address_and_a_wider_folder_are_two_reasons(settings: bundle.Settings) -> None:
    run(settings)
    (settings.directory / "bob").chmod(0o755)
    moved = replace(settings, urls=("https://new.example.com:8443/",))
    assert run(moved) == {"alice": "address changed", "bob": "address changed, folder mode was 0755"}


def test_a_key_encrypted_anew_is_a_new_password(settings: bundle.Settings, store: Store) -> None:
    run(settings)
    path = store.path / "certificates" / "client" / "alice" / bundle.KEY
    key = serialization.load_pem_private_key(path.read_bytes(), PASSWORDS["client/alice"].encode())
    encryption = serialization.BestAvailableEncryption(b"the new one")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    plan = bundle.plan(settings, ["alice"], {"client/alice": "the new one"})
    assert [item.reason for item in plan.due] == ["new password"]


def test_folders_of_unlisted_clients_are_reported_and_kept(settings: bundle.Settings) -> None:
    run(settings)
    plan = bundle.plan(settings, ["alice"], PASSWORDS)
    assert (plan.due, plan.unlisted) == ([], ["bob"])
    assert (settings.directory / "bob" / bundle.KEY).exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\nb", "-a", "ü", "a" * 65, "a\0b", "a'b"])
def test_a_name_that_could_leave_its_folder_is_refused(settings: bundle.Settings, name: str) -> None:
    with pytest.raises(KitError, match="name"):
        bundle.plan(settings, ["alice", name], PASSWORDS)


def test_a_client_named_twice_is_refused(settings: bundle.Settings) -> None:
    with pytest.raises(KitError, match="alice more than once"):
        bundle.plan(settings, ["alice", "bob", "alice"], PASSWORDS)


@pytest.mark.parametrize("url", ["http://a/", "https://a", "https://a/;rm", "https://a/ b", "https://a/`id`"])
def test_an_address_that_could_alter_the_command_is_refused(settings: bundle.Settings, url: str) -> None:
    with pytest.raises(KitError, match="client_bundle_urls"):
        bundle.plan(replace(settings, urls=(url,)), ["alice"], PASSWORDS)


def test_a_wrong_password_stops_before_anything_is_written(settings: bundle.Settings) -> None:
    with pytest.raises(KitError, match="does not open the key") as caught:
        bundle.plan(settings, ["alice", "bob"], PASSWORDS | {"client/bob": "wrong-secret"})
    assert "wrong-secret" not in str(caught.value)
    assert not settings.directory.exists()


@pytest.mark.parametrize("password", [{}, {"client/alice": ""}])
def test_a_missing_password_is_named(settings: bundle.Settings, password: dict[str, str]) -> None:
    with pytest.raises(KitError, match="client/alice: found an empty one"):
        bundle.plan(settings, ["alice"], password)


def test_a_client_the_store_does_not_have_is_named(settings: bundle.Settings) -> None:
    with pytest.raises(KitError, match="client 'carol': found no file"):
        bundle.plan(settings, ["carol"], PASSWORDS)


def test_a_dry_run_foresees_a_client_that_is_still_to_be_issued(settings: bundle.Settings) -> None:
    plan = bundle.plan(settings, ["alice", "carol"], PASSWORDS, dry=True)
    assert [(change["name"], change["reason"]) for change in plan.changes] == [
        ("client/alice", "write: new client"),
        ("client/carol", "write: new client"),
    ]


def test_only_a_dry_run_takes_the_password_before_a_rotation(settings: bundle.Settings) -> None:
    rotated = {"client/alice": "another-password", "previous/client/alice": PASSWORDS["client/alice"]}
    assert [due.client for due in bundle.plan(settings, ["alice"], rotated, dry=True).due] == ["alice"]
    with pytest.raises(KitError, match="does not open the key"):
        bundle.plan(settings, ["alice"], rotated)


def test_a_dry_run_needs_no_store(settings: bundle.Settings, tmp_path: Path) -> None:
    plan = bundle.plan(replace(settings, store=tmp_path / "none"), ["alice"], PASSWORDS, dry=True)
    assert plan.foreseen == ["alice"]


def test_a_key_of_another_certificate_is_refused(settings: bundle.Settings, store: Store) -> None:
    clients = store.path / "certificates" / "client"
    (clients / "alice" / bundle.CERTIFICATE).write_bytes((clients / "bob" / bundle.CERTIFICATE).read_bytes())
    with pytest.raises(KitError, match="a key of another certificate"):
        bundle.plan(settings, ["alice"], PASSWORDS)


def test_a_store_file_without_a_certificate_is_named(settings: bundle.Settings, store: Store) -> None:
    (store.path / "certificates" / "client" / "alice" / bundle.CERTIFICATE).write_bytes(b"no certificate")
    with pytest.raises(KitError, match="holds no certificate"):
        bundle.plan(settings, ["alice"], PASSWORDS)


def test_a_client_with_its_own_key_gets_neither_key_nor_archive(store: Store, settings: bundle.Settings) -> None:
    run(settings)
    assert (settings.directory / "alice" / bundle.ARCHIVE).exists()
    (store.path / "certificates/client/alice" / bundle.KEY).unlink()
    keyless = replace(settings, keyless=frozenset({"alice"}))
    secrets = (bundle.KEY, bundle.ARCHIVE, "client-compatible.p12", "bundle.zip")
    assert run(keyless, "alice") == {"alice": ", ".join(f"{name} of an earlier key" for name in secrets)}
    keyless = replace(keyless, platforms=())
    run(keyless)
    folder = settings.directory / "alice"
    assert {path.name for path in folder.iterdir()} == {
        bundle.CERTIFICATE, bundle.TRUST_ANCHOR, bundle.README, bundle.MANIFEST,
    }  # fmt: skip
    text = (folder / bundle.README).read_text()
    assert "--key <your key>" in text
    assert "client.p12" not in text
    assert "client.key" not in text
    assert run(keyless) == {}
    store.issue("alice")
    assert run(keyless) == {"alice": "new certificate"}


def test_a_client_whose_request_is_awaited_keeps_nobody_else_waiting(settings: bundle.Settings) -> None:
    keyless = replace(settings, keyless=frozenset({"partner"}))
    assert set(run(keyless, "alice", "partner")) == {"alice"}
    assert not (settings.directory / "partner").exists()
    assert bundle.plan(keyless, ["partner"], {}, dry=True).changes == []
