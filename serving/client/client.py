"""Client of the server for Python programs: plain calls, and the same with ``await``.

Example:
    >>> client = Client("http://127.0.0.1:8080")                            # doctest: +SKIP
    >>> with wave_file as out:                                              # doctest: +SKIP
    ...     for chunk in client.vocode(Path("in.wav").read_bytes(), form="pcm"): out.write(chunk)
    >>> with client.stream(voice="demo", rate=16000) as stream:             # doctest: +SKIP
    ...     for block in microphone: stream.send(block)
    ...     stream.finish()
    ...     for sound in stream: speaker.write(sound)
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from serving.client.async_stream import AsyncClientStream
from serving.client.backoff import PATIENCE, Backoff
from serving.client.errors import ServerError
from serving.client.protocol import ClientProtocol
from serving.client.stream import ClientStream
from serving.sound import sse

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncConnection
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import ClientConnection

_READ = 1 << 14


@dataclass(frozen=True, slots=True)
class Client:
    """Client of one server.

    Attributes:
        url: ``http://host:port`` or ``https://…``. key: API key, where the server wants one. timeout: seconds.
        patience: seconds that a sound which may be resumed waits for the server to come back.
    """

    url: str
    key: str | None = None
    timeout: float = 60.0
    patience: float = PATIENCE

    def voices(self) -> list[dict[str, Any]]:
        """Voices of the server, as it describes them.

        Raises:
            ServerError: where the server refuses.
        """
        with self._request("GET", "/v1/audio/voices") as answer:
            rows: list[dict[str, Any]] = json.loads(answer.read())["voices"]
            return rows

    def vocode(
        self, body: bytes, *, form: str = "wav", resumes: int = 0, events: bool = False, **query: Any
    ) -> Iterator[bytes]:
        """Sound of a recording or of features, chunk by chunk as it is made.

        ``query``: ``voice``, ``seed``, ``temperature``, ``speaker``, ``rate``. Where the connection breaks in the
        middle of the sound, the server or another replica is asked for the rest, after at most ``resumes`` breaks; so
        it is for the whole where the server does not answer. A server that is restarted or full is waited for.
        ``events``: have it sent as server-sent events, for what lies between that passes nothing else on at once.

        Raises:
            ServerError: where the server refuses.
            OSError: where the connection breaks, also in the middle of the sound.
        """
        values, token, received = {"format": form, **query}, None, 0
        backoff = Backoff(resumes, self.patience)
        while True:
            try:
                with self._request("POST", f"/v1/vocode?{urlencode(values)}", body, events=events) as answer:
                    token, received = answer.getheader("X-Resume-Token"), 0
                    for chunk in _unpacked(answer) if events else iter(lambda: answer.read1(_READ), b""):
                        received += len(chunk)
                        backoff.progress()
                        yield chunk
                return
            except (OSError, ServerError) as error:
                if token is None and received:
                    raise
                time.sleep(backoff.delay(error))
            if token is not None:
                values = {"resume": token, "offset": received}

    @contextmanager
    def stream(self, *, resumes: int = 0, **init: Any) -> Iterator[ClientStream]:
        """Open WebSocket stream; ``init``: see the server's README (``voice``, ``input``, ``rate``, ``signature``, …).

        Where the connection breaks, the server or another replica is asked to go on, after at most ``resumes`` breaks;
        the input of utterances under way is kept for that. A server that is restarted or full is waited for.

        Raises:
            ServerError: where the server refuses.
        """
        from websockets.exceptions import InvalidStatus
        from websockets.sync.client import connect

        @contextmanager
        def dial() -> Iterator[ClientConnection]:
            try:
                with connect(**self._dial(init), open_timeout=self.timeout) as socket:
                    yield socket
            except InvalidStatus as error:
                raise _from_handshake(error) from None

        stream = ClientStream(dial, ClientProtocol(_init(init), Backoff(resumes, self.patience)), self.timeout)
        try:
            yield stream
        finally:
            stream.close()

    @asynccontextmanager
    async def astream(self, *, resumes: int = 0, **init: Any) -> AsyncIterator[AsyncClientStream]:
        """As :meth:`stream`, to be awaited."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus

        async def dial() -> AsyncConnection:
            try:
                return await connect(**self._dial(init), open_timeout=self.timeout)
            except InvalidStatus as error:
                raise _from_handshake(error) from None

        stream = AsyncClientStream(dial, ClientProtocol(_init(init), Backoff(resumes, self.patience)))
        await stream.open()
        try:
            yield stream
        finally:
            await stream.close()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def _dial(self, init: dict[str, Any]) -> dict[str, Any]:
        place = self.url.replace("http", "ws", 1) + "/v1/stream"
        if "voice" in init:
            place += f"?{urlencode({'voice': init['voice']})}"
        return {"uri": place, "additional_headers": self._headers(), "compression": None, "max_size": None}

    @contextmanager
    def _request(
        self, method: str, target: str, body: bytes | None = None, *, events: bool = False
    ) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        try:
            connection.request(method, target, body, self._headers() | ({"Accept": sse.MEDIA_TYPE} if events else {}))
            answer = connection.getresponse()
            if answer.status != 200:
                raise _server_error(answer.status, answer.headers, answer.read())
            yield answer
        except http.client.HTTPException as error:
            raise OSError(f"the connection broke ({error!r})") from error
        finally:
            connection.close()


def _unpacked(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Sound of an answer of server-sent events.

    Raises:
        ServerError: for one that tells of a failure.
        OSError: where they end before the sound does.
    """
    events = sse.EventParser()
    while data := answer.read1(_READ):
        for fields in events.feed(data):
            if "error" in fields:
                # What was begun may be gone on with at once.
                told, after = fields["error"], 0.0 if fields["error"]["code"] == "worker_lost" else None
                raise ServerError(told["message"], code=told["code"], retry_after=after)
            if fields["type"] == "speech.audio.done":
                return
            yield base64.b64decode(fields["audio"])
    raise OSError("the events ended before the sound did")


def _init(given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "init", "input": "features" if "signature" in given else "audio"} | given


def _from_handshake(error: InvalidStatus) -> ServerError:
    answer = error.response
    return _server_error(answer.status_code, answer.headers, answer.body or b"")


def _server_error(status: int, headers: Any, body: bytes | bytearray) -> ServerError:
    try:
        error = json.loads(body)["error"]
        message, code = str(error["message"]), error.get("code")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # of a proxy, in words of its own
        message, code = f"HTTP status {status}", None
    return ServerError(message, status=status, code=code, retry_after=_seconds(headers.get("retry-after")))


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a ``Retry-After``, which is a number or a date; ``None`` where it is neither."""
    if retry_after is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", retry_after.strip()):
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
