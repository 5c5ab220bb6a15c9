"""Administration: who is signed in, and the API's own description."""

from pydantic import BaseModel, Field

from gateway.errors import Words
from gateway.web.api import EVERYBODY, Answer, Call, Endpoint


class Me(BaseModel):
    """Who is asking, as the gateway knows it."""

    login: str
    role: str
    carrier: str = ""
    institution: str = Field("", description="code")
    territory: str = ""
    scopes: list[str]


async def who_am_i(call: Call) -> Answer:
    actor = call.actor
    return Answer(
        Me(
            login=actor.login,
            role=actor.role,
            carrier=actor.carrier,
            institution=actor.institution_code,
            territory=actor.territory,
            scopes=sorted(actor.scopes),
        )
    )


async def openapi(call: Call) -> Answer:
    return Answer(call.site.openapi)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/openapi.json",
        frozenset(),
        "",
        Words("接口说明（OpenAPI 3.1）", "this description, OpenAPI 3.1"),
        openapi,
        answer=dict[str, object],
        connected=False,
    ),
    Endpoint(
        "GET",
        "/session",
        EVERYBODY,
        "read",
        Words("当前用户", "who is asking"),
        who_am_i,
        answer=Me,
        connected=False,
    ),
)
