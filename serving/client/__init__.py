"""Python client of the server: :class:`Client` and what it gives."""

from serving.client.async_stream import AsyncClientStream
from serving.client.client import Client
from serving.client.errors import ServerError
from serving.client.stream import ClientStream

__all__ = ["AsyncClientStream", "Client", "ClientStream", "ServerError"]
