"""A container registry that only hands out: what ``docker save`` wrote, by tag and by digest.

Run by itself: registry.py PORT TARBALL… The name and the tag are those that each image was saved with.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
REFUSED_TAG = "not-for-you"


class Registry(BaseHTTPRequestHandler):
    """The part of the OCI distribution API that a pull needs."""

    protocol_version = "HTTP/1.1"
    manifests: dict[str, bytes] = {}  # noqa: RUF012 - of the process, as the blobs
    """By ``<name>/manifests/<tag or digest>``."""
    blobs: dict[str, tuple[Path, str]] = {}  # noqa: RUF012
    """Where each lies: the tarball, and its name in there."""

    @classmethod
    def hand_out(cls, tarball: Path) -> dict[str, str]:
        """Have the images of ``docker save``; the digest of each by its name with its tag."""
        digests = {}
        with tarfile.open(tarball) as archive:

            def described(member: str, kind: str) -> dict[str, object]:
                found = archive.extractfile(member)
                assert found is not None
                digest = f"sha256:{hashlib.file_digest(found, 'sha256').hexdigest()}"
                cls.blobs[digest] = (tarball, member)
                return {"mediaType": kind, "size": archive.getmember(member).size, "digest": digest}

            listed = archive.extractfile("manifest.json")
            assert listed is not None
            for image in json.load(listed):
                layers = [described(member, LAYER) for member in image["Layers"]]
                manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers}
                content = json.dumps(manifest | {"config": described(image["Config"], CONFIG)}).encode()
                digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
                for reference in image["RepoTags"]:
                    name, _, tag = reference.rpartition(":")
                    path = name.partition("/")[2]
                    cls.manifests |= {f"{path}/manifests/{one}": content for one in (tag, digest)}
                    digests[reference] = digest
        return digests

    def do_GET(self) -> None:
        """Answer, to HEAD without a body."""
        path = self.path.removeprefix("/v2/")
        if path.endswith(f"/{REFUSED_TAG}"):
            self._answer(
                403, b'{"errors":[{"code":"DENIED","message":"this image is not for you"}]}', "application/json"
            )
        elif path in self.manifests:
            self._answer(200, self.manifests[path], MANIFEST)
        elif (digest := path.rpartition("/")[2]) in self.blobs:
            tarball, member = self.blobs[digest]
            with tarfile.open(tarball) as archive:
                found = archive.extractfile(member)
                assert found is not None
                self._answer(200, found.read(), "application/octet-stream")
        else:
            self._answer(404 if path else 200, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', "application/json")

    do_HEAD = do_GET

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(content).hexdigest()}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    print(json.dumps([Registry.hand_out(Path(name)) for name in sys.argv[2:]]), flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Registry).serve_forever()
