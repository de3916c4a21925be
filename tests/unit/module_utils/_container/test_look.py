"""What the doctor sees of a gateway whose containers are the fake engine's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._container import look, roll
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx
from tests.unit.module_utils._container.test_roll import Host
from tests.unit.module_utils._container.test_roll import host as host

NOW = datetime.now(UTC)
SERVER = "server { listen 443 ssl; include /etc/mtls-kit/pages.conf; }\n"


def found_at(host: Host, monkeypatch: pytest.MonkeyPatch, said: str = "") -> list[tuple[str, str]]:
    engine: Any = host.engine
    monkeypatch.setattr(roll.ContainerNginx, "test", lambda self: nginx.Verdict.of(int(bool(said)), said))
    found = look.of_gateway(engine, "gw", host.folder / "gw", NOW, engine.held)
    return [(one.cause, one.proof) for one in found]


def test_the_files_of_the_container_that_serves_are_read_where_they_lie(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run(config=SERVER)
    assert found_at(host, monkeypatch) == []
    (host.folder / "gw" / "1" / "pages.conf").write_text("error_page 495 =200 /welcome;\n")
    assert found_at(host, monkeypatch) == [("error-page", "error_page 495 =200 /welcome")]
    assert found_at(host, monkeypatch, "nginx: [emerg] no such directive")[0][0] == "nginx-test"


def test_a_gateway_without_a_container_that_serves_is_told_with_the_last_words(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found_at(host, monkeypatch) == [("not-reachable", "no container of gateway gw serves")]
    host.run()
    host.engine.retire("id-gw-1", 1)
    ((cause, proof),) = found_at(host, monkeypatch)
    assert cause == "not-reachable" and "gw-1 said last:" in proof
