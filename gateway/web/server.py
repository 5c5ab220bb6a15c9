"""The web process: the API, pages, what other nodes ask, /healthz and /readyz on the console's port, /metrics
on its own.

`/healthz` says that this process answers; `/readyz` that the whole node takes traffic, else 503 and what
is missing. It reads what the other processes say of themselves and never talks to the relay.
"""

import json
import ssl
from functools import cache
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from gateway import status, telemetry
from gateway.web import openapi
from gateway.web.asked import Asked
from gateway.web.dispatch import Dispatch
from gateway.web.pages import Pages
from gateway.web.resources import ENDPOINTS
from gateway.web.site import Site

LINE = 1 << 16
"""Octets of a request's line or header: what is too long is to be told so by us, not cut off."""


def console(run_dir: Path, roles: list[str], site: Site) -> web.Application:
    """The application of `[web] listen`."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        said = [status.read(run_dir, role) for role in roles]
        body = {
            "ready": all(role.ready for role in said),
            "roles": {role.role: "ready" if role.ready else role.why for role in said},
        }
        return web.json_response(body, status=200 if body["ready"] else 503)

    pages = Pages(site)
    application = web.Application(middlewares=[pages.no_page])
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    site.openapi = described
    Dispatch(site, ENDPOINTS, site.log).mount(application)
    pages.mount(application)
    Asked(site).mount(application)
    return application


@cache
def described() -> bytes:
    """The OpenAPI document of all tables; made when somebody asks, as it takes a third of a second."""
    return json.dumps(openapi.document(ENDPOINTS), ensure_ascii=False).encode()


def metrics() -> web.Application:
    """The application of `[metrics] listen`: all processes of the node together."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=telemetry.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/metrics", show)])
    return application


async def listen(
    application: web.Application, host: str, port: int, secured: ssl.SSLContext | None = None
) -> web.AppRunner:
    """Serve an application; the caller cleans the runner up. Raises OSError when the port is taken."""
    runner = web.AppRunner(application, access_log=None, max_line_size=LINE, max_field_size=LINE)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=secured).start()
    return runner
