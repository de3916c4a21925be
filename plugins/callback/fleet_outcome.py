"""Says how each gateway of a fleet came out of a run that did not go well on all of them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_outcome
type: notification
short_description: Say which gateways a run did, failed on, could not reach and left alone
version_added: "0.1.0"
description:
  - A run over a fleet goes on past a gateway that fails, and stops where a whole batch or too many of one failed.
    Ansible's recap then shows figures, and a gateway that was never begun is not in it at all.
  - Where a gateway is not done, this lists all of them after the recap, on standard error; else it says nothing.
requirements:
  - enabled by C(callbacks_enabled = mtls.kit.fleet_outcome), as in the checkout's C(ansible.cfg)
author:
  - The mTLS Kit authors (@mtls-kit)
"""

from typing import Any, Final

from ansible.executor.stats import AggregateStats
from ansible.playbook.play import Play
from ansible.plugins.callback import CallbackBase

PLAY: Final = "Deliver to the gateways"
DONE: Final = "deliver_done"
"""The fact that a gateway gets at the end of that play."""
GROUP: Final = "gateways"
COMPARES: Final = "mtls.kit.gateways_due"
_LONGEST: Final = 300
"""Characters of an error here; the whole of it stands above, where it happened."""


class CallbackModule(CallbackBase):
    """Listens to one play; hosts that never came into it are known from their group."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mtls.kit.fleet_outcome"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is known yet."""
        super().__init__(*args, **kwargs)
        self._gateways: list[str] = []
        self._done: set[str] = set()
        self._failed: dict[str, str] = {}
        self._unreachable: set[str] = set()

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """All of them count, whichever the play is for."""
        if play.get_name() == PLAY:
            self._gateways = play.get_variable_manager().get_vars(play=play)["groups"].get(GROUP, [])

    def v2_runner_on_ok(self, result: Any) -> None:
        """A gateway is done when the play says so, or when it is found that nothing is to be done there."""
        if result._task.action == COMPARES:
            # Compared twice: what the CA hands out may be due where the variables said nothing.
            self._done.update(result._result["unchanged"])
            self._done.difference_update(result._result["due"])
        if DONE in (result._result.get("ansible_facts") or {}):
            self._done.add(result._host.get_name())

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The last error of a host counts; the play says when it is done after all, as one that was rescued."""
        if not ignore_errors:
            self._done.discard(result._host.get_name())
            message = " ".join(str(result._result.get("msg") or "no message").split())
            self._failed[result._host.get_name()] = message if len(message) <= _LONGEST else f"{message[:_LONGEST]} …"

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host that is lost stays so for the rest of the run."""
        self._done.discard(result._host.get_name())
        self._unreachable.add(result._host.get_name())

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """The list, if anything is amiss and there is a fleet."""
        for line in outcome(self._gateways, self._done, self._failed, self._unreachable):
            self._display.display(line, stderr=True)


def outcome(gateways: list[str], done: set[str], failed: dict[str, str], unreachable: set[str]) -> list[str]:
    """The lines to show; none where all of them are done, or there is one only."""
    if len(gateways) < 2 or done >= set(gateways):
        return []
    rest = [name for name in gateways if name not in done]
    alone = [name for name in rest if name not in failed and name not in unreachable]
    lines = ["", "GATEWAYS"]
    for label, members in (
        ("done", [name for name in gateways if name in done]),
        ("not reached", [name for name in rest if name in unreachable]),
        ("left alone", alone),
    ):
        if members:
            lines.append(f"  {label}: {', '.join(members)}")
    lines += [f"  failed: {name}: {failed[name]}" for name in rest if name in failed and name not in unreachable]
    return [*lines, "  Next: mend what is named here and run the same command again; it goes on from there."]
