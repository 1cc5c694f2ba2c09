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

    A lost connection is made anew for as long as the hub keeps the session, and what was not answered is asked again.
    """

    def __init__(self, url, token, client):
        self._url, self._token, self._client = url, token, client
        self._ids = itertools.count(1)
        self._open = {}
        self._resume = None
        self._socket = None
        self._closing = False
        self.events = asyncio.Queue()
        self._reader = None

    @classmethod
    async def open(cls, url, token, client):
        """Connects and says hello. Gives the link and the hub's welcome."""
        link = cls(url, token, client)
        welcome = await link._connect()
        link._reader = asyncio.create_task(link._run())
        return link, welcome

    async def _connect(self):
        """One connection and its hello; raises `Refused` or an error of the network."""
        link = await connect(self._url, max_size=MAX_FRAME, proxy=None, open_timeout=10, ping_interval=20,
                             ping_timeout=20)
        request = next(self._ids)
        hello = {"id": request, "verb": "hello", "protocol": {"min": 1, "max": 2}, "client": self._client,
                 "token": self._token}
        if self._resume:
            hello["resume"] = self._resume
        await link.send(json.dumps(hello))
        answer = json.loads(await asyncio.wait_for(link.recv(), 10))
        if "error" in answer:
            await link.close()
            raise Refused("hello", answer["error"])
        welcome = answer["result"]
        if "session" in welcome:
            last = self._resume["last_seq"] if welcome.get("resumed") else 0
            self._resume = {"session": welcome["session"], "secret": welcome["resume_secret"], "last_seq": last}
        _hasten(link)
        self._socket = link
        for _, _, text in list(self._open.values()):
            await link.send(text)
        return welcome

    async def send(self, verb, **fields):
        """Sends a request and gives a future of its answer."""
        request = next(self._ids)
        answer = asyncio.get_running_loop().create_future()
        text = json.dumps({"id": request, "verb": verb, **fields})
        self._open[request] = (verb, answer, text)
        try:
            await self._socket.send(text)
        except ConnectionClosed:
            pass  # It is sent again on the next connection, or answered when there is none.
        return answer

    async def ask(self, verb, **fields):
        """Sends a request and waits for its answer; raises `Refused` if that is an error."""
        return await asyncio.wait_for(await self.send(verb, **fields), 60)

    async def close(self):
        """Closes the connection."""
        self._closing = True
        await self._socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _run(self):
        try:
            while True:
                await self._read()
                if self._closing or not self._resume or not await self._reconnect():
                    return
        finally:
            for verb, answer, _ in self._open.values():
                if not answer.done():
                    answer.set_exception(Refused(verb, {"code": "closed", "message": "the connection is closed"}))
            self._open.clear()
            self.events.put_nowait(None)

    async def _reconnect(self):
        """Tries for a minute."""
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + 60, 0.25
        while loop.time() < end and not self._closing:
            try:
                await self._connect()
                return True
            except Refused:
                return False
            except (OSError, TimeoutError, WebSocketException):
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5)
        return False

    async def _read(self):
        try:
            async for text in self._socket:
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
