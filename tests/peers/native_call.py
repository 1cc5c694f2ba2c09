"""One call of the unmodified native client `ntgcalls`: its key exchange, its signalling, its media.

Its callbacks run on threads of its own and are moved to the event loop here. An error inside it can abort the process.
"""

import asyncio
import os
import re

import ntgcalls

from exchange import G, P_BYTES
from hearing import RATE
from hub_link import from_blob

CALL = 1
# Scheme, host, port and transport of a server (RFC 7064, RFC 7065).
ICE_URL = re.compile(r"(\w+):(\[[^]]+]|[^:?]+)(?::(\d+))?(?:\?transport=(\w+))?")


def _ice_server(url, told):
    """A STUN or TURN server as ntgcalls wants it, by UDP: it knows no other way to them."""
    scheme, host, port, transport = ICE_URL.fullmatch(url).groups()
    if scheme in ("stun", "turn") and transport in (None, "udp"):
        ipv4, ipv6 = ("", host[1:-1]) if host.startswith("[") else (host, "")
        yield ntgcalls.RTCServer(0, ipv4, ipv6, int(port or 3478), told.get("username"), told.get("credential"),
                                 scheme == "turn", scheme == "stun", False, None)


def _reflector(told):
    """A reflector as ntgcalls wants it: numbers, addresses and tags as the hub's event has them."""
    tag, tcp = from_blob(told["peer_tag"]), told.get("tcp", False)
    return ntgcalls.RTCServer(told["id"], told["host"], "", told["port"], None, None, False, False, tcp, tag)


class NativeCall:
    """Drives ntgcalls through one call. `signals` are packets to send, `states` its connection states."""

    def __init__(self, on_pcm):
        self._loop = asyncio.get_running_loop()
        self._client = ntgcalls.NTgCalls()
        self._on_pcm = on_pcm
        self.signals = asyncio.Queue()
        self.states = asyncio.Queue()
        self._player = None
        self._client.on_signaling_data(lambda _, data: self._hop(self.signals.put_nowait, bytes(data)))
        self._client.on_connection_change(lambda _, info: self._hop(self.states.put_nowait, info.state.name.lower()))
        self._client.on_frames(self._frames)

    def _hop(self, function, *arguments):
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            pass  # The loop is closed: the call is over.

    def _frames(self, _call, _mode, _device, frames):
        for frame in frames:
            self._hop(self._on_pcm, bytes(frame.data))

    async def _create(self):
        await self._client.create_p2p_call(CALL)
        audio = ntgcalls.AudioDescription(ntgcalls.MediaSource.EXTERNAL, RATE, 1, "", False)
        media = ntgcalls.MediaDescription(microphone=audio, speaker=None, camera=None, screen=None)
        await self._client.set_stream_sources(CALL, ntgcalls.StreamMode.CAPTURE, media)
        await self._client.set_stream_sources(CALL, ntgcalls.StreamMode.PLAYBACK, media)

    @staticmethod
    def _config():
        return ntgcalls.DhConfig(G, P_BYTES, os.urandom(256))

    async def begin(self):
        """Caller: draws a secret and gives the commitment."""
        await self._create()
        return bytes(await self._client.init_exchange(CALL, self._config(), None))

    async def reveal(self, public_of_callee):
        """Caller: takes the callee's public value and gives its own and the fingerprint."""
        keys = await self._client.exchange_keys(CALL, public_of_callee, 0)
        return bytes(keys.g_a_or_b), keys.key_fingerprint

    async def answer(self, commitment):
        """Callee: gives its public value."""
        await self._create()
        return bytes(await self._client.init_exchange(CALL, self._config(), commitment))

    async def check(self, public_of_caller, fingerprint):
        """Callee: checks the caller's public value and the fingerprint; raises if they are wrong."""
        await self._client.exchange_keys(CALL, public_of_caller, fingerprint)

    async def emojis(self):
        """The four emojis, as they would be shown: one text."""
        return await self._client.get_emojis_fingerprint(CALL)

    async def connect(self, version, p2p, reflectors, ice_servers):
        """Begins signalling and media."""
        servers = [_reflector(told) for told in reflectors]
        servers += [server for told in ice_servers for url in told["urls"] for server in _ice_server(url, told)]
        await self._client.connect_p2p(CALL, servers, [version], p2p, None)

    async def signal(self, packet):
        """Takes a packet of the other side."""
        await self._client.send_signaling_data(CALL, packet)

    def play(self, sound):
        """Plays a sound until the call stops."""
        self._player = asyncio.create_task(self._play(sound))

    async def _play(self, sound):
        start, sent = self._loop.time(), 0
        while True:
            data = ntgcalls.FrameData()
            await self._client.send_external_frame(CALL, ntgcalls.StreamDevice.MICROPHONE, sound.frame(), data)
            sent += 1
            await asyncio.sleep(max(0.0, start + sent * 0.01 - self._loop.time()))

    async def stop(self):
        """Ends the call."""
        if self._player:
            self._player.cancel()
            await asyncio.gather(self._player, return_exceptions=True)
        try:
            await asyncio.wait_for(self._client.stop(CALL), 5)
        except Exception:  # noqa: BLE001 - the call may be gone already, and every kind of error means just that.
            pass
