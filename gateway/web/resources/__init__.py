"""All endpoints of the API: one module a subject, each with its table."""

from gateway.web.api import Endpoint
from gateway.web.resources.administration import ENDPOINTS as ADMINISTRATION
from gateway.web.resources.attempts import ENDPOINTS as ATTEMPTS
from gateway.web.resources.bodies import ENDPOINTS as BODIES
from gateway.web.resources.casework import ENDPOINTS as CASEWORK
from gateway.web.resources.claims import ENDPOINTS as CLAIMS
from gateway.web.resources.exports import ENDPOINTS as EXPORTS
from gateway.web.resources.filing import ENDPOINTS as FILING
from gateway.web.resources.finding import ENDPOINTS as FINDING
from gateway.web.resources.holding import ENDPOINTS as HOLDING
from gateway.web.resources.judging import ENDPOINTS as JUDGING
from gateway.web.resources.papers import ENDPOINTS as PAPERS
from gateway.web.resources.presses import ENDPOINTS as PRESSES
from gateway.web.resources.profiles import ENDPOINTS as PROFILES
from gateway.web.resources.supervision import ENDPOINTS as SUPERVISION
from gateway.web.resources.watching import ENDPOINTS as WATCHING

ENDPOINTS: tuple[Endpoint, ...] = (
    *ADMINISTRATION,
    *ATTEMPTS,
    *BODIES,
    *CASEWORK,
    *CLAIMS,
    *EXPORTS,
    *FILING,
    *FINDING,
    *HOLDING,
    *JUDGING,
    *PAPERS,
    *PRESSES,
    *PROFILES,
    *SUPERVISION,
    *WATCHING,
)
