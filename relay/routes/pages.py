"""What a browser opens: the web page, its files, and the reference of the API."""

import html
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_RELAY = Path(__file__).parent.parent
WEB = _RELAY / "web"
REFERENCE = _RELAY / "reference"


class _Files(StaticFiles):
    """Files of the package; a browser asks each time whether they changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def page_routes(model: str | None, *, demo: bool) -> list[BaseRoute]:
    """The page, the operator's at `/ops`, their files below `/web/`, the reference at `/docs`."""
    page = _fill((WEB / "index.html").read_text(), model=model or "", demo=str(demo).lower())
    ops = (WEB / "ops.html").read_text()
    reference = (REFERENCE / "index.html").read_text()

    async def show_page(request: Request) -> Response:
        return HTMLResponse(page, headers={"Cache-Control": "no-cache"})

    async def show_ops(request: Request) -> Response:
        return HTMLResponse(ops, headers={"Cache-Control": "no-cache"})

    async def show_reference(request: Request) -> Response:
        return HTMLResponse(reference, headers={"Cache-Control": "no-cache"})

    return [
        Route("/", show_page),
        Route("/ops", show_ops),
        Route("/docs", show_reference),
        Mount("/docs", _Files(directory=REFERENCE)),
        Mount("/web", _Files(directory=WEB)),
    ]


def _fill(template: str, **values: str) -> str:
    for name, value in values.items():
        template = template.replace("{{" + name + "}}", html.escape(value))
    return template
