"""A client of the hub protocol (docs/hub-protocol.md): one WebSocket, requests with answers, events in order."""

import asyncio
import base64
import itertools
import json

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

MAX_FRAME = 256 * 1024


def to_blob(data):
    """Bytes as the protocol writes them: base64url without padding."""
    return base64.urlsafe_b64encode(bytes(data)).rstrip(b"=").decode()


def from_blob(text):
    """The bytes of a blob."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Refused(Exception):
    """The hub answered a request with an error."""

    def __init__(self, verb, error):
        super().__init__(f"{verb}: {error.get('code')}: {error.get('message')}")
        self.verb = verb
        self.code = error.get("code")
        self.retry_after = error.get("retry_after")


class Link:
    """One connection to a hub. `events` yields the hub's events; `None` is the end of the connection."""

    def __init__(self, socket):
        self._socket = socket
        self._ids = itertools.count(1)
        self._open = {}
        self.events = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url, token, client):
        """Connects and says hello. Gives the link and the hub's welcome."""
        socket = await connect(url, max_size=MAX_FRAME, proxy=None, open_timeout=10, ping_interval=20, ping_timeout=20)
        link = cls(socket)
        try:
            welcome = await link.ask("hello", protocol={"min": 1, "max": 1}, client=client, token=token)
        except BaseException:
            await link.close()
            raise
        return link, welcome

    async def send(self, verb, **fields):
        """Sends a request and gives a future of its answer."""
        request = next(self._ids)
        answer = asyncio.get_running_loop().create_future()
        self._open[request] = (verb, answer)
        try:
            await self._socket.send(json.dumps({"id": request, "verb": verb, **fields}))
        except ConnectionClosed:
            self._open.pop(request, None)
            if not answer.done():
                answer.set_exception(Refused(verb, {"code": "closed", "message": "the connection is closed"}))
        return answer

    async def ask(self, verb, **fields):
        """Sends a request and waits for its answer; raises `Refused` if that is an error."""
        return await asyncio.wait_for(await self.send(verb, **fields), 15)

    async def close(self):
        """Closes the connection."""
        await self._socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self):
        try:
            async for text in self._socket:
                frame = json.loads(text)
                if "answer" not in frame:
                    self.events.put_nowait(frame)
                    continue
                verb, answer = self._open.pop(frame["answer"], (None, None))
                if answer is None or answer.done():
                    continue
                if "error" in frame:
                    answer.set_exception(Refused(verb, frame["error"]))
                else:
                    answer.set_result(frame["result"])
        except ConnectionClosed:
            pass
        finally:
            for verb, answer in self._open.values():
                if not answer.done():
                    answer.set_exception(Refused(verb, {"code": "closed", "message": "the connection is closed"}))
            self._open.clear()
            self.events.put_nowait(None)
