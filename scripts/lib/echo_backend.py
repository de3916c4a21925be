#!/usr/bin/env python3
"""A backend that answers every request with what it saw: method, path and headers, as JSON. Loopback only.

It takes its time for one path, so that there are requests under way whenever something happens to the gateway.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LONGEST_BODY = 1_048_576
SLOW_PATH = "/slow"
SLOW_SECONDS = 0.5


class Echo(BaseHTTPRequestHandler):
    """Says back what arrived; a body is read and counted, never returned."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Answer any method alike."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > LONGEST_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self.rfile.read(int(length))
        seen = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body_bytes": int(length)}
        if self.path == SLOW_PATH:
            time.sleep(SLOW_SECONDS)
        body = (json.dumps(seen, indent=2) + "\n").encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer


def main() -> None:
    """Serve until terminated; the pid file appears once the port is ours and goes with the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid-file", type=Path, required=True)
    arguments = parser.parse_args()
    with ThreadingHTTPServer(("127.0.0.1", arguments.port), Echo) as server:
        arguments.pid_file.write_text(f"{os.getpid()}\n")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        try:
            server.serve_forever()
        finally:
            arguments.pid_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
