"""All endpoints of the API: one module a subject, each with its table."""

from gateway.web.api import Endpoint
from gateway.web.resources import administration, casework, supervision

ENDPOINTS: tuple[Endpoint, ...] = (
    *administration.ENDPOINTS,
    *supervision.ENDPOINTS,
    *casework.ENDPOINTS,
)
