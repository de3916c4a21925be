"""Two rolls of a gateway at once: the second is refused by the lock of the first."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Engine
from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.modules import container_roll
from tests.integration.containers import Containers, serving

SECONDS = 30


def wait_for(path: Path) -> None:
    """Until a file is there."""
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)


def work(gateway: Containers) -> Any:
    """The whole module, as a playbook has it run."""
    folder = gateway.folder / "containers"
    bounds = {"start_seconds": 20, "drain_seconds": 20, "keep_images": 9}
    wanted = gateway.arguments(gateway.image) | {"folder": str(folder), "state": "started", **bounds}
    module: Any = SimpleNamespace(params=wanted, check_mode=False)
    return container_roll._work(module)


def test_of_two_rolls_at_once_the_second_is_refused_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "gateway") as gateway:
        gateway.options["memory"] = "300m"
        there, go_on = tmp_path / "there", tmp_path / "go-on"
        with gateway.load(anew=2, kept=2) as load:
            child = os.fork()
            if child == 0:
                status = 1
                retire = Engine.retire

                def held(*arguments: Any) -> Any:
                    there.touch()
                    wait_for(go_on)
                    return retire(*arguments)

                with contextlib.suppress(BaseException):
                    monkeypatch.setattr(Engine, "retire", held)
                    work(gateway)
                    status = 0
                os._exit(status)
            wait_for(there)
            found = gateway.containers()
            monkeypatch.setattr(files, "locked", functools.partial(files.locked, patience=1))
            gateway.options["memory"] = "301m"
            with pytest.raises(KitError, match="one run at a time on a gateway"):
                work(gateway)
            assert gateway.containers() == found
            go_on.touch()
            _, status = os.waitpid(child, 0)
            assert status == 0
        assert load.failures == []
        gateway.options["memory"] = "300m"
        assert work(gateway).changes == []
        assert len(gateway.containers()) == 2
