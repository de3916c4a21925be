"""What the doctor sees of a gateway that is a container."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from ansible_collections.mtls.kit.plugins.module_utils._container import generations, roll
from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Engine
from ansible_collections.mtls.kit.plugins.module_utils._gateway import diagnosis, doctor, nginx


def of_gateway(
    engine: Engine,
    name: str,
    root: Path,
    now: datetime,
    held: Callable[[int], Sequence[nginx.Listen]] = nginx.held_by,
) -> Iterator[diagnosis.Finding]:
    """Its containers, and the Nginx, the files and the log of the one that serves. KitError without an engine."""
    standing = roll.Roller(engine, name, root, roll.Times(0, 0), held=held).standing()
    current = standing.current
    if current is None:
        kept = standing.previous or next(iter((*standing.draining, *standing.unfinished)), None)
        words = " / ".join(engine.last_words(kept.container.id)) if kept else ""
        said = f"; {kept.name} said last: {words or 'nothing'}" if kept else ""
        yield diagnosis.finding("not-reachable", f"no container of gateway {name} serves{said}")
        return
    folder = current.folder
    configuration = nginx.Configuration(folder / "nginx.conf", lambda _: False, {generations.PREFIX: folder})
    verdict = roll.ContainerNginx(engine, current).test()
    yield from doctor.of_instance(verdict, configuration, now, engine.error_log(current.container.id))
