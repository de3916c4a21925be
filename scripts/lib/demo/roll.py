"""The gateway's container replaced by another under a steady load, and what became of every request meanwhile."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from typing import Final

from scripts.lib.demo import containers, inventory, playbooks
from scripts.lib.demo.proof import Identity
from scripts.lib.demo.screen import heading, paint, say, table
from scripts.lib.demo.settings import CLIENT, Settings
from scripts.lib.steady_load import Counts, SteadyLoad

CLIENTS: Final = 8
"""Of each kind."""
_MEMORY: Final = (256, 384)
"""MiB; each roll goes from one to the other."""


@dataclass(frozen=True)
class Rolled:
    """What was seen. ``seconds`` go from the new container's start to the old one's end."""

    old: str
    new: str
    memory: tuple[int, int]
    seconds: float
    anew: Counts
    kept: Counts

    @property
    def lossless(self) -> bool:
        """Whether both kinds of clients were answered, always."""
        return bool(self.anew.answered and self.kept.answered and not self.anew.failures and not self.kept.failures)


def another_memory(demo: Settings) -> Settings:
    """The settings with another bound: the kind of change that needs another container."""
    return replace(demo, memory=_MEMORY[demo.memory == _MEMORY[0]])


def under_load(demo: Settings, identity: Identity) -> Rolled:
    """Change a variable of the gateway and roll it, while sixteen clients ask without a pause worth the name."""

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(demo.bundles / CLIENT / "trust-anchor.crt"))
        made.load_cert_chain(identity.certificate, identity.key, identity.password)
        return made

    (old,) = containers.gateway(demo)
    wanted = another_memory(demo)
    wanted.save()
    inventory.write(wanted)
    # A service of the user's own may answer as it likes; what the gateway itself says when it can't is a failure.
    fine = range(200, 500) if demo.backend else (200,)
    with SteadyLoad(demo.port, demo.server_name, context, CLIENTS, CLIENTS, fine=fine) as load:
        playbooks.run(wanted, "roll", "playbooks/roll.yml: another container, while clients go on asking")
    (new,) = containers.gateway(demo)
    memory = (demo.memory, wanted.memory)
    return Rolled(old, new, memory, containers.overlap_seconds(old, new), load.anew, load.kept)


def show(rolled: Rolled) -> None:
    """The figures."""
    before, after = rolled.memory
    heading("The roll under load")
    table(
        [
            ("replaced", f"{rolled.old} by {rolled.new}: nginx_container_memory {before}m -> {after}m"),
            ("took", f"{rolled.seconds:.1f} s, from the new one's start to the old one's end"),
            (f"{CLIENTS} clients that connect anew for each request", _counted(rolled.anew)),
            (f"{CLIENTS} clients that keep a connection", _counted(rolled.kept)),
        ]
    )
    if rolled.kept.repeated:
        say(f"  Of the kept connections {rolled.kept.repeated} were closed while idle; their clients connected again.")


def _counted(counts: Counts) -> str:
    failed = len(counts.failures)
    told = paint(f"{failed} failed", "red" if failed else "green")
    kinds = f" ({'; '.join(sorted(set(counts.failures))[:3])})" if failed else ""
    return f"{counts.answered} answered, {told}{kinds}"
