#!/usr/bin/python3
"""Puts the passwords of this gateway's TLS keys into memory: from credentials of systemd, or from a vault.

mTLS Kit installs it and its units run it: key_passwords.py [--config FILE] systemd_credential|memory
The vault is OpenBao or HashiCorp Vault. It uses the standard library alone, asks nothing, ends within TOTAL_SECONDS,
and prints no secret. Where a password can't be had, what was in memory before stays.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

CONFIG = "/etc/mtls-kit/key_passwords.json"
TOTAL_SECONDS = 25
CALL_SECONDS = 5
PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each further try."""
TRY_AGAIN = {412, 429, 472, 473, 500, 502, 503, 504}
"""A standby, a server that is starting or sealed, electing a leader, or with too much to do."""
LARGEST_ANSWER = 1024 * 1024
MOST_LINES = 3
"""Passwords kept for a site: today's, and those before it that a release on the disk may still need."""


class Failure(Exception):
    """Something that an operator has to see; its text holds no secret."""


class TryAgain(Failure):
    """A failure that may be over in a moment."""


# --- Credentials of systemd ---------------------------------------------------------------------------------------


def decrypted(file: str, name: str) -> bytes:
    """What the credential ``name`` in ``file`` holds."""
    done = subprocess.run(
        ["systemd-creds", "decrypt", f"--name={name}", file, "-"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CALL_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise Failure(
            f"credential {file}: found one that this machine can't decrypt ({said}); expected one that it encrypted. "
            "Next: run mtls.kit.site, which encrypts it anew"
        )
    return done.stdout


def from_credentials(section: Mapping[str, Any]) -> dict[str, list[bytes]]:
    """The passwords by site."""
    return {site: decrypted(one["file"], one["name"]).split(b"\n") for site, one in section["sites"].items()}


# --- A vault ------------------------------------------------------------------------------------------------------


class Vault:
    """One connection to OpenBao or HashiCorp Vault."""

    def __init__(self, section: Mapping[str, Any]) -> None:
        """Nothing is sent yet."""
        url = urlsplit(section["url"])
        self._name = section["url"]
        self._namespace = section["namespace"]
        self._token = ""
        host = url.hostname or ""
        if url.scheme == "https":
            trusted = ssl.create_default_context(cafile=section["ca_file"] or None)
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, url.port or 443, timeout=CALL_SECONDS, context=trusted
            )
        else:
            self._connection = http.client.HTTPConnection(host, url.port or 80, timeout=CALL_SECONDS)

    def log_in(self, mount: str, role_id: str, secret_id: str) -> None:
        """By AppRole; the token is kept here."""
        status, answer = self._call("POST", f"auth/{mount}/login", {"role_id": role_id, "secret_id": secret_id})
        token = (answer.get("auth") or {}).get("client_token")
        if status != 200 or not isinstance(token, str):
            raise Failure(
                f"{self._name}, login at auth/{mount}: found status {status}; expected an AppRole that lets it in. "
                "Next: see that the secret_id is neither used up, expired nor bound to another address"
            )
        self._token = token

    def passwords(self, mount: str, version: int, path: str, field: str) -> list[bytes]:
        """Today's password at ``path``, and the one before it: a key may have either while it is rotated."""
        place = f"{mount}/data/{path}" if version == 2 else f"{mount}/{path}"
        status, answer = self._call("GET", place)
        data = answer.get("data") or {}
        fields = data if version == 1 else data.get("data")
        password = fields.get(field) if isinstance(fields, dict) else None
        if status != 200 or not isinstance(password, str) or not password:
            raise Failure(
                f"{self._name}, {place}, field {field}: found status {status} and no password; expected one that the "
                "policy of the AppRole lets it read. Next: correct the policy, or run mtls.kit.site, which stores it"
            )
        found = [password.encode()]
        if isinstance(beside := fields.get(f"{field}_previous"), str):
            found.append(beside.encode())
        number = (data.get("metadata") or {}).get("version", 1) if version == 2 else 1
        if number > 1:
            status, answer = self._call("GET", f"{place}?version={number - 1}")
            before = ((answer.get("data") or {}).get("data") or {}).get(field)
            if status == 200 and isinstance(before, str):
                found.append(before.encode())
        return found

    def log_out(self) -> None:
        """End the token, or leave it to end by itself."""
        if self._token:
            try:
                self._call("POST", "auth/token/revoke-self")
            except Failure as failure:
                print(f"mtls-kit: the token ends by itself: {failure}", file=sys.stderr)
        self._connection.close()

    def _call(self, method: str, path: str, body: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        headers = {"X-Vault-Request": "true"}
        if self._token:
            headers["X-Vault-Token"] = self._token
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        content = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, f"/v1/{quote(path, safe='/?=')}", content, headers)
            response = self._connection.getresponse()
            answer = response.read(LARGEST_ANSWER)
        except ssl.SSLCertVerificationError as error:
            raise Failure(
                f"{self._name}: found a certificate that isn't trusted ({error.verify_message}); expected one of the "
                "CA in certificate_install_openbao.ca. Next: correct ca or url"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            cause = getattr(error, "strerror", None) or type(error).__name__
            raise TryAgain(
                f"{self._name}: found no answer ({cause}); expected a vault that can be reached. Next: see that it "
                "runs, and that no firewall is in between"
            ) from None
        if response.status in TRY_AGAIN:
            raise TryAgain(
                f"{self._name}: found status {response.status}; expected a vault that is unsealed and active. "
                "Next: see bao status"
            )
        try:
            parsed = json.loads(answer) if answer else {}
        except ValueError:
            parsed = {}
        return response.status, parsed if isinstance(parsed, dict) else {}


def app_role(section: Mapping[str, Any]) -> tuple[str, str]:
    """role_id and secret_id of this gateway."""
    file, name = section["approle_file"], section["approle_credential"]
    credentials = json.loads(decrypted(file, name) if name else Path(file).read_bytes())
    return credentials["role_id"], credentials["secret_id"]


def from_vault(section: Mapping[str, Any]) -> dict[str, list[bytes]]:
    """The passwords by site, in one session."""
    role_id, secret_id = app_role(section)
    vault = Vault(section)
    try:
        vault.log_in(section["auth_mount"], role_id, secret_id)
        return {
            site: vault.passwords(section["mount"], section["kv_version"], one["path"], section["field"])
            for site, one in section["sites"].items()
        }
    finally:
        vault.log_out()


# --- Memory -------------------------------------------------------------------------------------------------------

SOURCES: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], dict[str, list[bytes]]]]] = {
    "systemd_credential": ("credential", from_credentials),
    "memory": ("password", from_vault),
}
"""The file in a site's folder, and what fills it."""


def keep(file: Path, found: Sequence[bytes], uid: int, gid: int) -> None:
    """Let ``file``, which only its owner can read, hold ``found`` and then what it held, each password once."""
    held = file.read_bytes().split(b"\n") if file.exists() else []
    lines = list(dict.fromkeys(line for line in (*found, *held) if line))[:MOST_LINES]
    temporary = file.with_name(f".tmp-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
    try:
        os.fchown(descriptor, uid, gid)
        os.write(descriptor, b"".join(line + b"\n" for line in lines))
    finally:
        os.close(descriptor)
    temporary.replace(file)


def patiently(fetch: Callable[[], dict[str, list[bytes]]]) -> dict[str, list[bytes]]:
    """What ``fetch`` returns, tried again where that can help."""
    for pause in PAUSES:
        try:
            return fetch()
        except TryAgain as failure:
            print(f"mtls-kit: {failure}; once more in {pause} s", file=sys.stderr)
            time.sleep(pause)
    return fetch()


def too_slow(number: int, frame: object) -> None:
    """End what takes too long, a name that doesn't resolve included."""
    raise Failure(f"found no end after {TOTAL_SECONDS} seconds; expected an answer at once. Next: see what slows it")


def main(arguments: Sequence[str]) -> int:
    """Fill the memory; the exit status is 1 when a password could not be had."""
    parser = argparse.ArgumentParser(description="Puts the passwords of TLS keys into memory.")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("source", choices=sorted(SOURCES))
    wanted = parser.parse_args(arguments)
    signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, TOTAL_SECONDS)
    try:
        config = json.loads(Path(wanted.config).read_bytes())
        section = config[wanted.source]
        name, fetch = SOURCES[wanted.source]
        # A container that has the folder mounted is tried again without its password, and never without the folder.
        for site in section["sites"]:
            for folder in (Path(config["runtime"]), Path(config["runtime"], site)):
                folder.mkdir(mode=0o711, exist_ok=True)
        for site, found in patiently(lambda: fetch(section)).items():
            owner = section["sites"][site]
            keep(Path(config["runtime"], site, name), found, owner["uid"], owner["gid"])
    except Failure as failure:
        print(f"mtls-kit: {failure}", file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError, subprocess.TimeoutExpired) as error:
        # The text of a ValueError could quote what it read.
        told = f"'{error.strerror}' at {error.filename}" if isinstance(error, OSError) else type(error).__name__
        print(f"mtls-kit: found {told}; expected what mTLS Kit installed. Next: run mtls.kit.site", file=sys.stderr)
        return 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
