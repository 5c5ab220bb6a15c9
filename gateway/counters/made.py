"""The counters that the settings ask for."""

import logging
from pathlib import Path

from gateway import config
from gateway.counters import Counters
from gateway.counters.local import Local, Recount
from gateway.values import milliseconds

LOCAL = "local"


def counters_of(
    settings: config.Counters, directory: Path, recount: Recount, log: logging.Logger
) -> Counters:
    """A worker's counters; `directory` is that of all workers of the node."""
    local = Local(directory, recount, log)
    if settings.url == LOCAL:
        return local
    from gateway.counters.remote import Remote  # noqa: PLC0415  # 6 MiB that others don't need

    return Remote(
        settings.url,
        local,
        deadline=milliseconds(settings.deadline) / 1000,
        suffices=settings.when_away == LOCAL,
        log=log,
    )
