"""What the sessions of a worker have in common."""

import logging
from dataclasses import dataclass

from gateway.relay.confirming import Confirmations
from gateway.relay.parts import Parts
from gateway.relay.refusing import MakeIds, Receivers
from gateway.relay.returns import Returns
from gateway.relay.routes import Routes
from gateway.relay.screen import Screen
from gateway.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Desk:
    """Of one listener."""

    screen: Screen
    returns: Returns
    confirmations: Confirmations
    parts: Parts
    telemetry: Telemetry
    log: logging.Logger
    make_ids: MakeIds
    receivers: Receivers
    routes: Routes | None  # where carriers deliver on connections of their own
