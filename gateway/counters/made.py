"""The counters that the settings ask for."""

import logging
from collections.abc import Callable
from pathlib import Path

from gateway import config
from gateway.counters import Counters, Look
from gateway.counters.local import Local, Recount, looker
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


def looker_of(settings: config.Counters, directory: Path, hashed: Callable[[str], bytes]) -> Look:
    """For a dry run: where nodes count together, what all of them did, for which it waits `deadline` at most.
    `hashed` is `RegistryKey.hash`."""
    own = looker(directory, hashed)
    if settings.url == LOCAL:
        return own
    from gateway.counters.looking import Looking  # noqa: PLC0415

    deadline = milliseconds(settings.deadline) / 1000
    return Looking(settings.url, own, hashed, deadline=deadline, suffices=settings.when_away == LOCAL)
