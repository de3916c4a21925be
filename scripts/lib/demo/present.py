"""The demo itself, inside the environment: inventory, playbooks, backend, three requests and the summary."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo import containers, inventory, playbooks, processes, proof, roll, settings
from scripts.lib.demo.screen import fail, heading, paint, say, table
from scripts.lib.demo.settings import ADDRESS, CLIENT, Settings

SHOWN_HEADERS = ("VERIFIED", "DN", "X-Client-Name", "X-Client-Groups", "X-Client-SAN", "X-Client-Fingerprint")
"""Those of the gateway's identity headers that fit on a screen; roles/nginx_mtls/README.md has all of them."""


def present(demo: Settings) -> None:
    """Everything after the preparations."""
    started = time.monotonic()
    inventory.write(demo)
    if demo.backend:
        processes.stop(demo.backend_pid_file)
    else:
        processes.start_echo_backend(demo)
    changes = playbooks.run(demo, "site", "playbooks/site.yml: the PKI and the gateway")
    changes += playbooks.run(demo, "clients", "playbooks/clients.yml: what the client is handed")
    password = client_password(demo)
    write_curl_password(demo, password)
    proven = show_requests(demo, password)
    rolled = roll.under_load(demo, proof.client_identity(demo, password)) if demo.containers and proven else None
    if rolled:
        roll.show(rolled)
    show_places(demo)
    done = f"{playbooks.counted(changes)} in {time.monotonic() - started:.0f} s" if changes else "Nothing changed"
    if rolled:
        done += ", and the roll" if changes else " but by the roll, which every run shows"
    heading(f"{done}. The gateway runs.")
    if not proven:
        raise KitError(
            "the requests above",
            "an answer other than the expected one",
            "200 with the client's certificate and 400 otherwise",
            f"look at {logs(demo)}",
        )
    if rolled and not rolled.lossless:
        raise KitError(
            "the roll above",
            f"{len(rolled.anew.failures) + len(rolled.kept.failures)} failed requests",
            "every request answered",
            f"look at {logs(demo)} and {demo.logs / 'roll.log'}",
        )


def logs(demo: Settings) -> str:
    """Where the gateway's own log is."""
    return f"docker logs {_container(demo)}" if demo.containers else str(demo.gateway_prefix / "logs")


def _container(demo: Settings) -> str:
    return next(iter(containers.gateway(demo)), demo.gateway_name)


def client_password(demo: Settings) -> str:
    """The password of the client's key, from the embedded vault."""
    secret = VaultSecret(demo.vault_password_file.read_bytes().strip())
    vault = VaultLib([("default", secret)])
    passwords: dict[str, str] = yaml.safe_load(vault.decrypt(demo.vault_file.read_bytes()))
    return passwords[f"client/{CLIENT}"]


def curl_password_file(demo: Settings) -> Path:
    """A curl configuration with the password: in an argument every user of the machine could read it."""
    return demo.folder / "passwords" / f"{CLIENT}.curl"


def write_curl_password(demo: Settings, password: str) -> None:
    """Written at every run, born with mode 0600."""
    path = curl_password_file(demo)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f'pass = "{password}"\n')


def show_requests(demo: Settings, password: str) -> bool:
    """Make the three requests and show them; True when each was answered as it must be."""
    anchor = demo.bundles / CLIENT / "trust-anchor.crt"
    heading(f"Three requests to {demo.url(proof.PATH)}")
    answers = {
        f"with {CLIENT}'s certificate": proof.request(demo, anchor, proof.client_identity(demo, password)),
        "without a certificate": proof.request(demo, anchor, None),
        "with a stranger's": proof.request(demo, anchor, proof.stranger(demo.folder / "stranger")),
    }
    accepted, *refused = answers.values()
    fits = [200 <= accepted.status < 500 and accepted.status != 400, *(answer.status == 400 for answer in refused)]
    rows = []
    for (name, answer), good in zip(answers.items(), fits, strict=True):
        status = paint(str(answer.status or "no answer"), "green" if good else "red")
        rows.append((name, f"{status}  {seen(demo, answer) if answer is accepted else answer.reason}"))
    table(rows)
    return all(fits)


def seen(demo: Settings, answer: proof.Answer) -> str:
    """What the echo backend saw of the client; any other backend's first line."""
    if answer.status in (502, 504):
        return f"the gateway let the client in, but {demo.backend_url} did not answer: does it run?"
    try:
        echoed: dict[str, Any] = json.loads(answer.body)
        headers: dict[str, str] = echoed["headers"]
        request = f"{echoed['method']} {echoed['path']}"
    except (ValueError, KeyError, TypeError):
        return f"the backend answered: {answer.body.strip().partition(chr(10))[0][:100]}"
    identity = [f"     {name}: {value}" for name, value in headers.items() if name in SHOWN_HEADERS]
    return "\n".join([f"the backend saw {request} and", *identity])


def curl_command(demo: Settings, folder: Path) -> str:
    """The command a person can copy, from any folder."""
    bundle = demo.bundles / CLIENT
    parts = [
        ["curl", "--resolve", f"{demo.server_name}:{demo.port}:{ADDRESS}"],
        ["--cacert", short(bundle / "trust-anchor.crt", folder)],
        ["--cert", short(bundle / "client.crt", folder), "--key", short(bundle / "client.key", folder)],
        ["--config", short(curl_password_file(demo), folder), demo.url(proof.PATH)],
    ]
    return " \\\n    ".join(shlex.join(part) for part in parts)


def short(path: Path, folder: Path) -> str:
    """``path`` as seen from ``folder`` where it lies below it."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def show_places(demo: Settings) -> None:
    """Where things are, what to try, how to stop."""
    here = Path.cwd()
    gateway, its_logs = short(demo.gateway_prefix, here), short(demo.gateway_prefix / "logs", here)
    if demo.containers:
        gateway, its_logs = f"container {_container(demo)}", logs(demo)
    heading("Files")
    table(
        [
            ("client's bundle", short(demo.bundles / CLIENT, here)),
            ("CA's store", short(demo.store, here)),
            ("gateway", f"{gateway}, certificates in {short(demo.certificates, here)}"),
            ("inventory", f"{short(demo.inventory, here)}, with the vault of the keys' passwords"),
            ("logs", f"{short(demo.logs, here)}, {its_logs}"),
        ]
    )
    heading("Try it")
    say(f"  {curl_command(demo, here)}")
    if demo.containers:
        say(f"  docker ps --all --filter label={containers.GATEWAY_LABEL}={demo.gateway_name}")
    heading("Stop it")
    default = settings.ROOT / ".demo"
    say("  scripts/demo --down" + ("" if demo.folder == default else f" --dir {shlex.quote(str(demo.folder))}"))


def main() -> None:
    """Called by scripts/demo with the demo's folder."""
    os.environ.pop("PYTHONPATH", None)
    demo = settings.load(Path(sys.argv[1]))
    if demo is None:
        raise SystemExit("start it by scripts/demo")
    try:
        present(demo)
    except (KitError, OSError) as error:
        fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        fail("Interrupted. scripts/demo goes on from here; scripts/demo --down removes what there is.")
        sys.exit(130)


if __name__ == "__main__":
    main()
