"""Calls a module of the PKI as Ansible does, at the moment that the test's CA host has."""

from __future__ import annotations

import json
from datetime import datetime
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.unit.module_utils._pki.authority_host import AuthorityHost


class Call:
    """Runs modules; ``printed`` is all that they put out, to look for secrets in."""

    def __init__(self, host: AuthorityHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        class Clock(datetime):
            """Stands where the CA host's stands."""

            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return host.now

        self.printed = ""
        self._clock, self._monkeypatch, self._capsys = Clock, monkeypatch, capsys

    def __call__(self, module: ModuleType, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        # Not every module asks for the time.
        self._monkeypatch.setattr(module, "datetime", self._clock, raising=False)
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        said = self._capsys.readouterr()
        self.printed += said.out + said.err
        result: dict[str, Any] = json.loads(said.out)
        return result
