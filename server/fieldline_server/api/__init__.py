"""The HTTP API: routes, keys, problems; OpenAPI is its reference."""

from fieldline_server.api.app import create_app
from fieldline_server.api.serving import serve

__all__ = ["create_app", "serve"]
