"""A server of the Model Context Protocol for tests, on the official SDK for Python.

    python mcp_server.py PORT     over HTTP: /mcp, the older /sse, /private/mcp for `Bearer top-secret` alone
    python mcp_server.py stdio    over its own pipes

`GET /test/seen` counts requests by method and path.
"""

import asyncio
import sys
from collections import Counter
from enum import Enum

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

server = MCPServer("tests in Python", instructions="Use the tools for every sum.")
seen: Counter[str] = Counter()


class Tone(Enum):
    PLAIN = "plain"
    LOUD = "loud"


class Person(BaseModel):
    name: str = Field(description="what the person is called")
    tone: Tone = Tone.PLAIN


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def greet(person: Person) -> str:
    """Greets a person."""
    text = f"Hello {person.name}"
    return text.upper() if person.tone is Tone.LOUD else text


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ToolError("it went wrong")


@server.tool()
async def slow(seconds: float) -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return "at last"


class Door:
    """Counts, and lets nobody into /private who has no key."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"]
        if path == "/test/seen":
            return await JSONResponse(dict(seen))(scope, receive, send)
        seen[f"{scope['method']} {path}"] += 1
        if path.startswith("/private/"):
            if dict(scope["headers"]).get(b"authorization") != b"Bearer top-secret":
                refused = JSONResponse({"error": "no key"}, 401, {"www-authenticate": "Bearer"})
                return await refused(scope, receive, send)
            scope = {**scope, "path": path.removeprefix("/private"), "raw_path": b"/mcp"}
        return await self.app(scope, receive, send)


def main() -> None:
    if sys.argv[1] == "stdio":
        return server.run("stdio")
    app = server.streamable_http_app()
    app.router.routes.extend(server.sse_app().routes)
    uvicorn.run(Door(app), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


main()
