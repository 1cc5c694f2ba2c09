"""A client of the hub protocol (docs/hub-protocol.md): one session, requests with answers, events in order."""

import asyncio
import base64
import itertools
import json
import socket

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

MAX_FRAME = 256 * 1024


def to_blob(data):
    """Bytes as the protocol writes them: base64url without padding."""
    return base64.urlsafe_b64encode(bytes(data)).rstrip(b"=").decode()


def from_blob(text):
    """The bytes of a blob."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _hasten(link):
    """On a bad network what was lost is repeated sooner, and at even intervals for longer (Linux; docs/hub-protocol.md)."""
    # TCP_THIN_LINEAR_TIMEOUTS, TCP_USER_TIMEOUT in ms, TCP_RTO_MAX_MS, TCP_RTO_MIN_US, TCP_DELACK_MAX_US; the socket module does
    # not name them all.
    for option, value in [(16, 1), (18, 40_000), (44, 1000), (45, 50_000), (46, 20_000)]:
        try:
            link.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, value)
        except OSError:
            pass


class Refused(Exception):
    """The hub answered a request with an error."""

    def __init__(self, verb, error):
        super().__init__(f"{verb}: {error.get('code')}: {error.get('message')}")
        self.verb = verb
        self.code = error.get("code")
        self.retry_after = error.get("retry_after")


class Link:
    """A session at a hub. `events` yields the hub's events; `None` is the end of the session.

    It has two connections, so that what stands still on the one comes on the other. One that is lost is made anew for as long as the
    hub keeps the session, and what was not answered is asked again.
    """

    def __init__(self, url, token, client):
        self._url, self._token, self._client = url, token, client
        self._ids = itertools.count(1)
        self._open = {}
        self._resume = None
        self._sockets = []
        self._closing = False
        self.events = asyncio.Queue()
        self._lines = []
        self._lost_at = 0

    @classmethod
    async def open(cls, url, token, client):
        """Connects and says hello. Gives the link and the hub's welcome."""
        link = cls(url, token, client)
        socket, welcome = await link._connect()
        lines = 2 if link._resume else 1
        link._lines = [asyncio.create_task(link._run(first)) for first in [socket, None][:lines]]
        return link, welcome

    async def _connect(self):
        """One connection and its hello; raises `Refused` or an error of the network."""
        link = await connect(self._url, max_size=MAX_FRAME, proxy=None, open_timeout=10, ping_interval=20,
                             ping_timeout=20)
        _hasten(link)
        request = next(self._ids)
        hello = {"id": request, "verb": "hello", "protocol": {"min": 1, "max": 2}, "client": self._client,
                 "token": self._token}
        if self._resume:
            hello["resume"] = self._resume | {"beside": True}
        await link.send(json.dumps(hello))
        answer = json.loads(await asyncio.wait_for(link.recv(), 10))
        if "error" in answer:
            await link.close()
            raise Refused("hello", answer["error"])
        welcome = answer["result"]
        if "resume_secret" in welcome:
            last = self._resume["last_seq"] if welcome.get("resumed") else 0
            self._resume = {"session": welcome["session"], "secret": welcome["resume_secret"], "last_seq": last}
        self._sockets.append(link)
        for _, _, text in list(self._open.values()):
            await link.send(text)
        return link, welcome

    async def send(self, verb, **fields):
        """Sends a request and gives a future of its answer."""
        request = next(self._ids)
        answer = asyncio.get_running_loop().create_future()
        text = json.dumps({"id": request, "verb": verb, **fields})
        self._open[request] = (verb, answer, text)
        for socket in list(self._sockets):
            try:
                await socket.send(text)
            except ConnectionClosed:
                pass  # It is sent again on the next connection, or answered when there is none.
        return answer

    async def ask(self, verb, **fields):
        """Sends a request and waits for its answer; raises `Refused` if that is an error."""
        return await asyncio.wait_for(await self.send(verb, **fields), 60)

    async def close(self):
        """Closes the connections."""
        self._closing = True
        for socket in list(self._sockets):
            await socket.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _run(self, socket):
        """One of the connections, again and again."""
        try:
            while socket or (socket := await self._reconnect()):
                await self._read(socket)
                self._sockets.remove(socket)
                socket = None
                if not self._sockets:
                    self._lost_at = asyncio.get_running_loop().time()
                if self._closing or not self._resume:
                    return
        finally:
            if not self._sockets:
                self._end()

    def _end(self):
        """The session is over."""
        self._closing = True
        for verb, answer, _ in self._open.values():
            if not answer.done():
                answer.set_exception(Refused(verb, {"code": "closed", "message": "the connection is closed"}))
        self._open.clear()
        self.events.put_nowait(None)

    async def _reconnect(self):
        """Tries for as long as there is the other connection, and for a minute after that."""
        loop, pause = asyncio.get_running_loop(), 0.25
        while not self._closing and (self._sockets or loop.time() < self._lost_at + 60):
            try:
                return (await self._connect())[0]
            except Refused:
                # The secret may be another one by now, if the other connection has it.
                if not self._sockets:
                    return None
            except (OSError, TimeoutError, WebSocketException):
                pass
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5)
        return None

    async def _read(self, socket):
        try:
            async for text in socket:
                frame = json.loads(text)
                if "answer" not in frame:
                    seq = frame.get("seq")
                    if seq and self._resume:
                        if seq <= self._resume["last_seq"]:
                            continue
                        self._resume["last_seq"] = seq
                    self.events.put_nowait(frame)
                    continue
                verb, answer, _ = self._open.pop(frame["answer"], (None, None, None))
                if answer is None or answer.done():
                    continue
                if "error" in frame:
                    answer.set_exception(Refused(verb, frame["error"]))
                else:
                    answer.set_result(frame["result"])
        except ConnectionClosed:
            pass
