"""A bare FastAPI application that answers with what it was sent, under the uvicorn settings of farfunc's server.

python echo.py PORT
"""

from __future__ import annotations

import socket
import sys

import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI(openapi_url=None)


@app.post("/echo")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/vnd.safetensors")


@app.get("/ready")
async def ready() -> Response:
    return Response()


if __name__ == "__main__":
    # As farfunc_server.serving: the protocol is named, since asyncio turns Nagle's algorithm off only where it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[listener])
