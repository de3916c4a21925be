"""Which gateways a run has anything to do on, where nothing was or could be looked at."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.unit.action.conftest import Run

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
SITES = [{"name": "orders", "server_names": ["orders.test"], "backend": "http://127.0.0.1:9"}]


def test_what_was_not_looked_at_or_cannot_be_judged_is_due(play: Callable[..., Run]) -> None:
    container = {**LOCAL, "nginx_mtls_sites": SITES, "nginx_mtls_instance": "container"}
    tasks = [
        {
            "mtls.kit.gateway_look": {"salt": "of a test"},
            "register": "gateway_look",
            "when": "inventory_hostname == 'gw1'",
        },
        {"mtls.kit.gateways_due": {"salt": "of a test"}, "run_once": True},
    ]
    run = play(
        tasks,
        {"gw1": container, "gw2": {**LOCAL, "nginx_mtls_sites": SITES}},
        "-vvv",
        groups={"gateways": ["gw1", "gw2"]},
    )
    assert run.returncode == 0, run.output
    assert "its Nginx is a container" in run.output
    # No module ran for it.
    assert "<gw1> EXEC" not in run.output
    assert "it was not looked at" in run.output
    assert '"unchanged": []' in run.output
