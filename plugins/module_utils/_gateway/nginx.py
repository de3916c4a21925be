"""An Nginx on this machine: what it is, what it is told, whether it runs, and what it serves."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._gateway import tls
from ansible_collections.mtls.kit.plugins.module_utils._pki import names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

COMMAND_SECONDS = 30.0
"""A million-entry map loads in two seconds; a program that takes longer than this waits for something."""

STOP_SECONDS = 10.0
LOOK_SECONDS = 2.0
POLL_PAUSE_SECONDS = 0.05

OUR_FILES = (
    "00-mtls-*.conf",
    "zz-mtls-*.conf",
    "mtls/*-access.conf",
    "mtls/*-clients.conf",
    "mtls/*-grpc.conf",
    "mtls/*-identity.conf",
    "mtls/*-server.conf",
    "mtls/00-mtls-*.conf",
    "mtls/zz-mtls-*.conf",
)
"""Names of files that this kit writes, below a configuration folder. ``zz``: loaded last, so that a listener whose
default server is merely its first one keeps it."""

UNIT = "nginx.service"
DEBUG_UNIT = "nginx-debug.service"
"""Of nginx.org's packages, beside the other: same configuration and process id file, a program that can debug."""

_FORMAT = "--showformat=${Version}\n${db-fsys:Files}\n"

BINARY_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/sbin")


@dataclass(frozen=True)
class Verdict:
    """What ``nginx -t`` said."""

    passed: bool
    lines: tuple[str, ...]
    """Nginx's own lines, the reassuring ones left out."""

    @classmethod
    def of(cls, exit_code: int, text: str) -> Verdict:
        """From what the command wrote to its standard error."""
        lines = [line.strip() for line in text.splitlines()]
        telling = [line for line in lines if line and "syntax is ok" not in line and "test is successful" not in line]
        telling = [line for line in telling if not re.fullmatch(r".*configuration file \S+ test failed", line)]
        return cls(exit_code == 0, tuple(telling))

    @property
    def warnings(self) -> list[str]:
        """What is worth telling though it passed."""
        return [line for line in self.lines if "[warn]" in line and "could not build optimal map_hash" not in line]

    @property
    def text(self) -> str:
        """The lines as one clause."""
        return "; ".join(self.lines) or "no reason given"

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every absolute path that the lines name."""
        found = re.findall(r'(?:"| in |: |^)(/[^\s":;]+)', "\n".join(self.lines))
        return tuple(Path(re.sub(r":\d+$", "", path)) for path in found)


def find_binary(name: str) -> str | None:
    """The program's path, looked for where an ordinary user's PATH doesn't lead, too."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *BINARY_PLACES]))


def run(command: Sequence[str], seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a program that must not ask anything: no terminal, bounded time, English messages.

    Raises KitError when it doesn't end in time.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise KitError(
            f"command {' '.join(command)}",
            f"no end after {seconds:.0f} seconds",
            "an answer at once",
            "run it by hand to see what it waits for",
        ) from error


@dataclass(frozen=True)
class Instance:
    """Which Nginx is meant; what isn't given is Nginx's own default."""

    binary: str = "nginx"
    prefix: str = ""
    config: str = ""
    pid_file: str = ""
    error_log: str = ""
    service: str = "signals"
    """``systemd`` or ``signals``."""
    unit: str = UNIT


class Nginx:
    """The verbs of one instance."""

    def __init__(self, instance: Instance) -> None:
        """Raises KitError when the program is missing."""
        binary = find_binary(instance.binary)
        if binary is None:
            raise KitError(
                f"program {instance.binary}",
                "no such program on this machine",
                "Nginx installed",
                "install the package nginx, or name the program in nginx_mtls_binary",
            )
        self.instance = instance
        self.binary = binary

    def command(self, *arguments: str) -> list[str]:
        """The argument list that addresses this instance."""
        words = [self.binary]
        if self.instance.prefix:
            words += ["-p", self.instance.prefix]
        if self.instance.config:
            words += ["-c", self.instance.config]
        # Before it has read its configuration, Nginx logs into a folder that only root may write.
        if self.instance.error_log and self.instance.prefix:
            words += ["-e", self.instance.error_log]
        return [*words, *arguments]

    def test(self) -> Verdict:
        """``nginx -t``."""
        done = run(self.command("-t"))
        return Verdict.of(done.returncode, done.stderr)

    def master(self) -> int | None:
        """The master process's id, when it runs."""
        if self.instance.service == "systemd":
            text = run(["systemctl", "show", "--property=MainPID", "--value", self.instance.unit]).stdout.strip()
            pid = int(text) if text.isdigit() else 0
        else:
            try:
                text = Path(self.instance.pid_file).read_text(encoding="ascii").strip()
            except OSError:
                return None
            pid = int(text) if text.isdigit() else 0
        return pid if pid and _is_nginx(pid) else None

    def start(self) -> None:
        """Start it; raises KitError with Nginx's own lines."""
        if self.instance.service == "systemd":
            self._systemctl("start")
            return
        done = run(self.command())
        if done.returncode != 0:
            raise KitError(
                "starting Nginx",
                "; ".join(done.stderr.split("\n")).strip("; ") or f"exit status {done.returncode}",
                "a running master process",
                f"run {' '.join(self.command('-t'))} and repair what it names",
            )

    def reload(self, master: int) -> None:
        """Make the master read its configuration again."""
        if self.instance.service == "systemd":
            self._systemctl("reload")
        else:
            os.kill(master, signal.SIGHUP)

    def stop(self, master: int) -> None:
        """Let the workers finish for a while, then end them."""
        if self.instance.service == "systemd":
            self._systemctl("stop")
            return
        for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(master, number)
            deadline = tls.Deadline(STOP_SECONDS)
            while _is_nginx(master) and not deadline.passed:
                time.sleep(POLL_PAUSE_SECONDS)
            if not _is_nginx(master):
                return

    def enabled(self) -> bool:
        """Whether the service comes up with the machine; without systemd that is not ours to say.

        Nor of the one that debugs: it runs while somebody looks, and the other comes up.
        """
        if self.instance.service != "systemd" or self.instance.unit == DEBUG_UNIT:
            return True
        return run(["systemctl", "is-enabled", "--quiet", self.instance.unit]).returncode == 0

    def enable(self) -> None:
        """Make the service come up with the machine."""
        self._systemctl("enable")

    def _systemctl(self, verb: str) -> None:
        done = run(["systemctl", verb, self.instance.unit], 90)
        if done.returncode != 0:
            raise KitError(
                f"systemctl {verb} {self.instance.unit}",
                " ".join(done.stderr.split()) or f"exit status {done.returncode}",
                "success",
                f"see journalctl -u {self.instance.unit}",
            )

    def log_end(self) -> int:
        """Size of the error log, in bytes: where :meth:`log_since` is to begin."""
        try:
            return Path(self.instance.error_log).stat().st_size if self.instance.error_log else 0
        except OSError:
            return 0

    def log_since(self, begin: int) -> list[str]:
        """The errors that Nginx logged since then, three at most."""
        if not self.instance.error_log:
            return []
        try:
            with Path(self.instance.error_log).open("rb") as log:
                log.seek(begin)
                lines = log.read(256 * 1024).decode(errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if re.search(r"\[(emerg|alert|crit)\]", line)][-3:]


def running_unit() -> str:
    """The unit of systemd that runs the packaged Nginx: the one that debugs where that was started in its place."""
    state = run(["systemctl", "is-active", DEBUG_UNIT]).stdout.strip()
    return DEBUG_UNIT if state in ("active", "reloading") else UNIT


def _is_nginx(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    name, _, rest = status.partition("(")[2].rpartition(")")
    return name in ("nginx", "nginx-debug") and not rest.strip().startswith("Z")


# --- What is served -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listen:
    """An address and a port that Nginx is to listen on."""

    address: str
    port: int


@dataclass(frozen=True)
class Site:
    """Where a site's units lie, and where it can be looked at."""

    name: str
    root: Path
    listens: tuple[Listen, ...]
    address: str
    port: int
    server_name: str
    backends: tuple[str, ...]
    """Host and port of each, as Nginx takes them."""
    config: str
    """Fingerprint of the configuration files, which the probe tells; empty: not compared."""

    @property
    def release_directory(self) -> Path:
        """Through the link that a switch swaps."""
        return self.root / "releases" / "current"

    @property
    def trust_directory(self) -> Path:
        """Through the link that a switch swaps."""
        return self.root / "trust" / "current"


@dataclass(frozen=True)
class Served:
    """What a site serves, or is to serve."""

    release: str
    trust: str
    config: str
    leaf_sha256: str
    serial: str

    def differences(self, expected: Served) -> list[str]:
        """What differs, each as ``release: 2 is on disk, 1 is served``."""
        pairs = (
            ("release", expected.release, self.release),
            ("trust", expected.trust, self.trust),
            ("configuration", expected.config, self.config),
            ("serial", expected.serial, self.serial),
        )
        found = [
            f"{what} {disk} is on disk, {served or 'another one'} is served"
            for what, disk, served in pairs
            if disk and disk != served
        ]
        if not found and expected.leaf_sha256 != self.leaf_sha256:
            found.append(f"certificate {expected.leaf_sha256[:12]} is on disk, {self.leaf_sha256[:12]} is served")
        return found


def serial_of(leaf: bytes) -> str:
    """The serial of a DER certificate as Nginx prints it."""
    return names.serial_text(x509.load_der_x509_certificate(leaf).serial_number)


def on_disk(site: Site) -> Served:
    """What a reload would take up; raises KitError when release or trust is missing or unreadable."""
    try:
        release = str(site.release_directory.readlink())
        trust = str(site.trust_directory.readlink())
        pem = (site.release_directory / "server.crt").read_text(encoding="ascii")
        end = pem.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
        leaf = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE-----") : end])
    except (OSError, ValueError) as error:
        raise KitError(
            f"site {site.name!r}",
            f"no usable release and trust unit below {site.root} ({error})",
            "releases/current and trust/current, put there by certificate_install",
            "run mtls.kit.site, or the role certificate_install before nginx_mtls",
        ) from error
    return Served(release, trust, site.config, hashlib.sha256(leaf).hexdigest(), serial_of(leaf))


def look(site: Site) -> Served:
    """What the site serves now, asked without a client certificate at the gateway's own address.

    Raises tls.NotReachable and tls.NoSession.
    """
    answer = tls.ask(site.address, site.port, site.server_name, tls.unverified(), tls.Deadline(LOOK_SECONDS))
    told = answer.document
    if told.get("site") != site.name:
        raise tls.NoSession(f"another server answers there (status {answer.status})")
    return Served(
        str(told.get("release", "")),
        str(told.get("trust", "")),
        str(told.get("config", "")) if site.config else "",
        answer.leaf_sha256,
        serial_of(answer.leaf),
    )


def poll(
    expected: Mapping[Site, Served], seconds: float, sleep: Callable[[float], None] = time.sleep
) -> dict[str, str]:
    """Look again and again until two new connections in a row get what is expected; what is wrong, by site.

    Two, because the workers of old and new configuration both accept for some 100 ms.
    """
    deadline = tls.Deadline(seconds)
    right = dict.fromkeys(expected, 0)
    while True:
        wrong: dict[str, str] = {}
        for site in [site for site, times in right.items() if times < 2]:
            try:
                reason = "; ".join(look(site).differences(expected[site]))
            except (tls.NotReachable, tls.NoSession) as error:
                reason = str(error)
            right[site] = 0 if reason else right[site] + 1
            if reason:
                wrong[site.name] = reason
        if all(times >= 2 for times in right.values()) or (wrong and deadline.passed):
            return wrong
        sleep(POLL_PAUSE_SECONDS)


# --- Before anything is changed ---------------------------------------------------------------------------------


def check_password_file(site: Site) -> None:
    """An encrypted key without a password file makes Nginx wait for a terminal for ever: raises KitError."""
    key = site.release_directory / "server.key"
    password = site.release_directory / "password"
    try:
        encrypted = b"ENCRYPTED" in key.read_bytes()[:4096]
        has_password = password.stat().st_size > 0
    except OSError as error:
        raise KitError(
            f"site {site.name!r}",
            f"{error.filename} can't be read ({error.strerror})",
            "key and password of the release, readable by the user that starts Nginx",
            "run the role certificate_install again, with the owner of this Nginx",
        ) from error
    if encrypted and not has_password:
        raise KitError(
            f"site {site.name!r}",
            f"an encrypted key and an empty {password}",
            "the password that opens the key",
            "run the role certificate_install again",
        )


def check_address(listen: Listen) -> None:
    """Raises KitError when the address isn't one of this machine's."""
    family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((listen.address, 0))
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        raise KitError(
            f"listen address {listen.address}",
            "no such address on this machine",
            "an address that `ip address` shows",
            "correct listen_addresses of the site",
        ) from error


def check_backends(site: Site) -> None:
    """Nginx resolves the backends' names once, when it starts: raises KitError when that fails now."""
    for backend in site.backends:
        host, _, port = backend.rpartition(":")
        try:
            socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise KitError(
                f"site {site.name!r}, backend {backend}",
                f"a host name that doesn't resolve on this machine ({error.strerror})",
                "a name that resolves, or an IP address",
                "correct backend of the site, or the machine's name resolution",
            ) from error


@dataclass(frozen=True)
class Listener:
    """A process that listens."""

    address: str
    port: int
    inode: str
    uid: int


def listeners(tables: Iterable[Path] = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))) -> Iterator[Listener]:
    """Every TCP socket in state LISTEN, from /proc/net (proc(5))."""
    for table in tables:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[3] != "0A":
                continue
            address, _, port = words[1].partition(":")
            # Each 32 bits are in the machine's byte order; every machine Debian's Nginx runs on here is little-endian.
            raw = b"".join(bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8))
            family = socket.AF_INET6 if len(raw) == 16 else socket.AF_INET
            yield Listener(socket.inet_ntop(family, raw), int(port, 16), words[9], int(words[7]))


def _sockets(pid: int) -> set[str]:
    """Inodes of the sockets of a process; OSError when this user may not see them."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    return found


def held_by(pid: int) -> list[Listen]:
    """Where a process listens; nowhere when it is gone. OSError when this user may not see it."""
    try:
        sockets = _sockets(pid)
    except FileNotFoundError:
        return []
    return [Listen(one.address, one.port) for one in listeners() if one.inode in sockets]


def _owner(inode: str) -> str:
    """Process id and name of the owner of a socket, as far as /proc lets this user see it; or empty."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if inode in _sockets(int(process.name)):
                    return f"process {process.name} ({(process / 'comm').read_text(encoding='utf-8').strip()})"
    return ""


def check_port(listen: Listen, master: int | None) -> None:
    """Raises KitError when a process other than this Nginx, whose ``master`` runs or not, holds the port."""
    try:
        ours = _sockets(master) if master else set()
    except OSError:
        # Somebody else's Nginx, looked at by a user who may not: nginx -t will tell.
        return
    there = [other for other in listeners() if other.port == listen.port]
    if any(other.inode in ours and _share_an_address(other.address, listen.address) for other in there):
        return
    for other in there:
        # A socket on [::] takes IPv4, too, unless it was told not to: only an attempt tells.
        both_families = other.address == "::" and ":" not in listen.address and not _can_bind(listen)
        if _share_an_address(other.address, listen.address) or both_families:
            raise KitError(
                f"port {listen.port} on {listen.address}",
                f"{_owner(other.inode) or f'a process of the user with id {other.uid}'} listening there",
                "a free port",
                "stop that process, or give the site another port",
            )


def _share_an_address(one: str, other: str) -> bool:
    wildcard = "::" if ":" in one else "0.0.0.0"  # noqa: S104 - compared, not bound
    return (":" in one) == (":" in other) and (one == other or wildcard in (one, other))


def _can_bind(listen: Listen) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((listen.address, listen.port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


# --- What is there already ----------------------------------------------------------------------------------------


_TOKEN = re.compile(
    r"""
      \#[^\n]*                              # a comment
    | "(?:\\.|[^"\\])*"                    # quoted words
    | '(?:\\.|[^'\\])*'
    | [{};]
    | (?:\\.|\$\{[^}]*\}|[^\s{};"'\#\\])   # a bare word; quotes and # inside it are its own
      (?:\\.|\$\{[^}]*\}|[^\s{};\\])*
    """,
    re.DOTALL | re.VERBOSE,
)


class Configuration:
    """An Nginx configuration as far as it says who listens, read as Nginx does: includes at their place, in order.

    Read from the files, not from ``nginx -T``: that prints nothing as long as anything is broken, and every map.
    """

    def __init__(self, main: Path, is_ours: Callable[[Path], bool], mounted: Mapping[str, Path] | None = None) -> None:
        """Reads ``main`` and what it includes; files that ``is_ours`` names are left out, unreadable ones, too.

        ``mounted`` is where folders of a container lie on this machine, by their place inside.
        """
        self._mounted = mounted or {}
        self.listeners: list[dict[str, Any]] = []
        """Of servers of others, in Nginx's order: address, port, default, ssl, http2 and file."""
        self.map_hash_set_in = ""
        """The file that settled map_hash_max_size: by setting it, or by a map that used what was set until then."""
        self.included: list[str] = []
        """Files of ours that others' files include."""
        self.variables_hash_set_in = ""
        """The file that sets variables_hash_max_size."""
        self.shutdown_timeout = ""
        """What worker_shutdown_timeout is set to."""
        self.servers: list[list[tuple[str, ...]]] = []
        """The directives of each server, those it inherits first."""
        self._folder = main.parent
        self._is_ours = is_ours
        self._reading: list[Path] = []
        self._blocks: list[tuple[str, list[tuple[str, ...]]]] = [("", [])]
        self._read(main)

    def _read(self, path: Path) -> None:
        if self._is_ours(path):
            self.included.append(str(path))
            return
        if path in self._reading:
            return
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        self._reading.append(path)
        words: list[str] = []
        for found in _TOKEN.finditer(text):
            piece = found[0]
            if piece == "{":
                self._open(words)
                words = []
            elif piece == "}":
                self._close()
                words = []
            elif piece == ";":
                self._directive(words)
                words = []
            elif not piece.startswith("#"):
                words.append(piece.strip("\"'"))
        self._reading.pop()

    def _open(self, words: list[str]) -> None:
        name = words[0] if words else ""
        if name == "map":
            self._settle_map_hash()
        self._blocks.append((name, []))

    def _close(self) -> None:
        if len(self._blocks) == 1:
            return
        name, directives = self._blocks.pop()
        if name != "server":
            return
        self.servers.append([words for _, outer in self._blocks for words in outer] + directives)
        ssl_on = ("ssl", "on") in directives
        for words in directives:
            listen = parse_listen(words[1:]) if words[0] == "listen" and len(words) > 1 else None
            if listen:
                listen["ssl"] = listen["ssl"] or ssl_on
                self.listeners.append({**listen, "file": str(self._reading[-1])})

    def _directive(self, words: list[str]) -> None:
        if words[:1] == ["include"] and len(words) == 2:
            pattern = self._here(words[1]) if words[1].startswith("/") else f"{self._folder}/{words[1]}"
            # A file that is named and isn't there may be one of ours that is still to be written.
            for path in sorted(glob.glob(pattern)) or [pattern]:  # noqa: PTH207 - as glob(3), it leaves hidden files out
                self._read(Path(path))
        elif words:
            if words[0] == "map_hash_max_size":
                self._settle_map_hash()
            if words[0] == "variables_hash_max_size":
                self.variables_hash_set_in = str(self._reading[-1])
            if words[0] == "worker_shutdown_timeout":
                self.shutdown_timeout = " ".join(words[1:])
            self._blocks[-1][1].append(tuple(words))

    def _here(self, path: str) -> str:
        for inside, here in self._mounted.items():
            if path.startswith(f"{inside}/"):
                return f"{here}{path.removeprefix(inside)}"
        return path

    def _settle_map_hash(self) -> None:
        self.map_hash_set_in = self.map_hash_set_in or str(self._reading[-1])


def parse_listen(words: Sequence[str]) -> dict[str, Any] | None:
    """A ``listen`` directive's arguments; None for sockets that are no TCP port."""
    place = words[0]
    if place.startswith("unix:") or "quic" in words or "udp" in words:
        return None
    if place.isdigit():
        address, port = "0.0.0.0", int(place)  # noqa: S104 - what Nginx takes it for
    else:
        match = re.fullmatch(r"(\[[^\]]+\]|[^:]+)(?::(\d+))?", place)
        if match is None:
            return None
        address, port = match[1].strip("[]"), int(match[2] or 80)
        address = "0.0.0.0" if address == "*" else address  # noqa: S104 - what Nginx takes it for
    return {
        "address": address,
        "port": port,
        "default": "default_server" in words or "default" in words,
        "ssl": "ssl" in words,
        "http2": "http2" in words,
    }


def version_numbers(text: str) -> tuple[list[int], list[int]]:
    """Nginx's version and that of the OpenSSL it runs with, from ``nginx -V``."""
    nginx = re.search(r"nginx version: \S+?/(\d+(?:\.\d+)*)", text)
    running = re.search(r"running with OpenSSL (\d+(?:\.\d+)*)", text)
    built = re.search(r"built with OpenSSL (\d+(?:\.\d+)*)", text)
    openssl = running or built
    return (
        [int(part) for part in nginx[1].split(".")] if nginx else [],
        [int(part) for part in openssl[1].split(".")] if openssl else [],
    )


def compiled_path(text: str, option: str) -> str:
    """A path that was set when Nginx was built, from ``nginx -V``: ``--conf-path``, ``--pid-path``."""
    match = re.search(rf"{re.escape(option)}=(\S+)", text)
    return match[1] if match else ""


def package_version(binary: str) -> str:
    """Version of the Debian package that ``binary`` belongs to; empty where dpkg knows of none."""
    query = shutil.which("dpkg-query")
    if query is None:
        return ""
    path = str(Path(binary).resolve())
    # Asked first of the package that is named as the program: dpkg looks for any other in the lists of all packages.
    version, _, listed = run([query, "--show", _FORMAT, Path(path).name]).stdout.partition("\n")
    if f" {path}" in listed.splitlines():
        return version
    owner = run([query, "--search", path]).stdout.partition(":")[0].strip()
    return run([query, "--show", _FORMAT, owner]).stdout.partition("\n")[0] if owner else ""


def has_ipv6() -> bool:
    """Whether this machine can listen on IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def map_entries(roots: Iterable[Path]) -> int:
    """Lines of the largest map in the current trust units."""
    largest = 0
    for root in roots:
        for name in ("revoked.map", "identities.map"):
            with contextlib.suppress(OSError), (root / "trust" / "current" / name).open("rb") as content:
                largest = max(largest, sum(1 for _ in content))
    return largest
