"""A gateway that is a container of a real engine, on this machine's network, with a backend and clients."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2

from ansible_collections.mtls.kit.plugins.filter.nginx_plan import nginx_plan
from ansible_collections.mtls.kit.plugins.module_utils._container import roll
from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Engine
from ansible_collections.mtls.kit.plugins.module_utils._container.generations import PREFIX, Generation
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import load_certificates
from ansible_collections.mtls.kit.plugins.module_utils._gateway.release import release_id
from ansible_collections.mtls.kit.plugins.modules import container_roll
from ansible_collections.mtls.kit.plugins.modules.nginx_info import inspect
from scripts.lib.steady_load import SLOW_PATH, SLOW_SECONDS, SteadyLoad
from tests.integration.wire import ROOT, Echo, Wire, free_port

BASE = (os.environ.get("MTLS_KIT_BASE_IMAGE") or "mtls-kit-base:%s").replace("%s", "bookworm")


class SlowEcho(Echo):
    """Takes its time for one path."""

    def do_GET(self) -> None:
        if self.path == SLOW_PATH:
            time.sleep(SLOW_SECONDS)
        super().do_GET()


def docker(*arguments: str, stdin: bytes | None = None) -> str:
    """The engine's own command; fails with its own words."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def recipe(gateway: str, **more: Any) -> str:
    """The role's Dockerfile."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(ROOT / "roles/nginx_container/templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 - a Dockerfile, not HTML
    )
    variables = {
        "__nginx_container_managed": "test", "__nginx_container_base": BASE, "__nginx_container_prefix": PREFIX,
        "__nginx_container_binary": "nginx", "__nginx_container_debug_binary": "", "nginx_container_revision": "1",
        "nginx_container_packages": ["nginx", "ca-certificates"], "nginx_container_debug": False,
        "nginx_container_name": gateway,
    }  # fmt: skip
    return environment.get_template("Dockerfile.j2").render(variables | more)


def build(tag: str) -> None:
    """The role's image; the layers of an earlier test are used again."""
    docker("build", "--tag", tag, "-", stdin=recipe("mtls-kit-test").encode())


@dataclass
class Containers(Wire):
    """The wire of the other tests, with a container in the place of Nginx."""

    name: str = field(default_factory=lambda: f"mtls-kit-test-{secrets.token_hex(3)}")
    probe_port: int = field(default_factory=free_port)
    start_seconds: float = 20
    drain_seconds: int = 20
    site_settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    image: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.backend.shutdown()
        self.backend.server_close()
        self.backend = ThreadingHTTPServer(("127.0.0.1", 0), SlowEcho)
        self.backend.daemon_threads = True
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()
        self.engine = Engine()

    def build(self) -> str:
        """The image as the role builds it."""
        self.image = f"mtls-kit-gateway:{self.name}"
        build(self.image)
        return self.image

    def variant(self, *lines: str) -> str:
        """Another image on top of it."""
        text = "\n".join([f"FROM {self.image}", *lines, f'LABEL mtls-kit.image="{self.name}"'])
        tag = f"mtls-kit-gateway:{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        docker("build", "--tag", tag, "-", stdin=text.encode())
        return tag

    def certify(self) -> None:
        """Release and trust of the site, as certificate_install leaves them."""
        servers = [{"name": "server/gw1/orders", "san": {"dns": ["orders.test"]}}]
        self.host.run(certificates=[*self.clients, *servers])
        self._release("orders", "issuing")

    def another_release(self, name: str, password: str | None = None) -> None:
        """A release of that name with the same key, in use from the next reload on; ``password`` may be a wrong one."""
        releases = self.mtls / "orders" / "releases"
        now = (releases / "current").resolve()
        shutil.copytree(now, releases / name)
        (releases / name / "id.map").write_text(f'default "{name}";\n')
        if password is not None:
            (releases / name / "password").write_text(password + "\n")
        for link, target in (("previous", now.name), ("current", name)):
            (releases / f".{link}").symlink_to(target)
            (releases / f".{link}").replace(releases / link)

    def _release(self, site: str, scope: str) -> None:
        super()._release(site, scope)
        releases = self.mtls / site / "releases"
        key, chain = ((releases / "one" / name).read_bytes() for name in ("server.key", "server.crt"))
        name = release_id(load_certificates(chain.decode(), site)[0], key, chain)
        shutil.rmtree(releases / name, ignore_errors=True)
        (releases / "one").rename(releases / name)
        (releases / name / "id.map").write_text(f'default "{name}";\n')
        # The link has to be relative: it is followed inside the container.
        (releases / "current").unlink()
        (releases / "current").symlink_to(name)

    def trust(self, site: str, scope: str = "issuing") -> None:
        """A copy below the site's own folder, which is what a container sees."""
        newest = max((self.host.store / "trust" / scope).glob("[0-9]*"), key=lambda path: int(path.name))
        folder = self.mtls / site / "trust"
        shutil.copytree(newest, folder / newest.name, dirs_exist_ok=True)
        (folder / ".current").symlink_to(newest.name)
        (folder / ".current").replace(folder / "current")

    def arguments(self, image: str) -> dict[str, Any]:
        """What the role hands to the module."""
        settings = {
            "root": str(self.mtls), "instance": "container", "prefix": PREFIX, "service": "signals", "binary": "nginx",
            "removed": "report", "templates": str(ROOT / "roles/nginx_mtls/templates"), "revocation": "map",
            "crl_renewed": False, "resumption": False, "user": "www-data", "debug": False,
            "probe_port": self.probe_port,
        }  # fmt: skip
        site = self.site(listen_addresses=["127.0.0.1"], **self.site_settings)
        info = inspect("nginx", "", [str(self.mtls / "orders")], image)
        plan = nginx_plan([site], settings, info)
        return {
            "name": self.name, "image": image, "files": plan["files"], "listeners": plan["listeners"],
            "sites": plan["sites"], "mounts": [], "user": "www-data", "binary": "nginx", "memory": "", "cpus": 0,
            "log_driver": "", "log_options": {}, **self.options,
        }  # fmt: skip

    def roller(self) -> roll.Roller:
        """A run of its own, as each playbook's is."""
        folder = self.folder / "containers"
        folder.mkdir(exist_ok=True)
        return roll.Roller(self.engine, self.name, folder, roll.Times(self.start_seconds, self.drain_seconds))

    def roll(self, image: str = "") -> list[str]:
        """Have the gateway as it is wished; the reasons."""
        outcome = self.roller().run(container_roll._wish(self.arguments(image or self.image)), False)
        return [str(one["reason"]) for one in outcome.changes if one["name"] in (self.name, "orders")]

    @property
    def current(self) -> Generation:
        """The container that serves."""
        found = self.roller().standing().current
        assert found is not None
        return found

    def containers(self) -> list[str]:
        """Names of all there are."""
        return sorted(one.name for one in self.engine.containers(f"mtls-kit.gateway={self.name}"))

    def holds_nothing_that_is_left_over(self) -> None:
        """One container serves, the one before it is kept, and each has its folder."""
        assert len(self.containers()) == 2
        running = [one for one in self.engine.containers(f"mtls-kit.gateway={self.name}") if one.running]
        assert [one.id for one in running] == [self.current.container.id]
        assert len(list((self.folder / "containers").glob("[0-9]*"))) == 2

    def load(self, **more: Any) -> SteadyLoad:
        """Sixteen clients of the site."""
        return SteadyLoad(self.port, "orders.test", self.context, **more)

    def close(self) -> None:
        super().close()
        self.roller().remove(False)
        ours = f"mtls-kit-gateway:{self.name}"
        tags = [tag for image in self.engine.images("mtls-kit.image") for tag in image.tags if tag.startswith(ours)]
        if tags:
            docker("rmi", "--force", *tags)


@contextlib.contextmanager
def serving(folder: Path, image: str = "") -> Iterator[Containers]:
    """A gateway that serves, and is gone with the test; of ``image``, where that is given."""
    gateway = Containers(folder, image=image)
    try:
        if not image:
            gateway.build()
        gateway.certify()
        gateway.roll()
        yield gateway
    finally:
        gateway.close()
