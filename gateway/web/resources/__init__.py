"""All endpoints of the API: one module a subject, each with its table."""

from gateway.web.api import Endpoint
from gateway.web.resources.administration import ENDPOINTS as ADMINISTRATION
from gateway.web.resources.bodies import ENDPOINTS as BODIES
from gateway.web.resources.filing import ENDPOINTS as FILING

ENDPOINTS: tuple[Endpoint, ...] = (*ADMINISTRATION, *BODIES, *FILING)
