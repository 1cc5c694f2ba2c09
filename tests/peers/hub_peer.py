#!/usr/bin/env python3
"""A user of the hub with an unmodified native client: answers or dials, plays a tone, says what it sees and hears.

Prints one JSON object a line. SIGTERM and SIGINT hang up. Exit codes: 0 a call was connected (or refused, where that was
asked for), 3 no call was connected, 4 the hub refused.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import signal
import sys
import time

from exchange import P_BYTES  # noqa: F401 - fails early if the folder is incomplete
from hearing import Ear, Onset, Speech, Tone
from hub_link import Link, Refused, from_blob, to_blob
from wrong_call import WRONGS, WrongCall

EMOJIS = pathlib.Path(__file__).resolve().parents[2] / "proto/src/e2ee/emojis.tsv"
START = time.monotonic()
# So many seconds without any PCM are silence.
SILENCE = 0.3


def say(event, **fields):
    """Prints one event."""
    line = {"t": round(time.monotonic() - START, 3), "at": round(time.time(), 3), "event": event, **fields}
    print(json.dumps(line, ensure_ascii=False), flush=True)


def emoji_table():
    """The 333 emojis, in order."""
    rows = EMOJIS.read_text(encoding="utf-8").splitlines()
    return [row.split("\t")[2] for row in rows if row and not row.startswith("#")]


def split_emojis(text, table):
    """The emojis of a text that has nothing between them, longest match first; unknown pieces stay single characters."""
    known, shown = sorted(table, key=len, reverse=True), []
    while text:
        emoji = next((emoji for emoji in known if text.startswith(emoji)), text[0])
        shown.append(emoji)
        text = text[len(emoji):]
    return shown


def newest(ours, theirs):
    """The highest version that both speak, or `None`."""
    both = [version for version in ours if version in theirs]
    return max(both, key=lambda version: [int(part) for part in version.split(".")], default=None)


class Peer:
    """One user on one hub, with at most one call."""

    def __init__(self, link, account, options):
        self.link, self.account, self.options = link, account, options
        self.table = emoji_table()
        self.connected = False
        self.hangup = asyncio.Event()
        self.chance = random.Random(options.seed)
        self._reset()

    def _reset(self):
        self.id = self.call = self.version = self.p2p = None
        self.outgoing = False
        self.sent = self.received = self.unsent = 0
        self.live_since = None
        self.tasks = []
        self.ear = self.since = None
        self.heard_at = 0

    def _new_call(self):
        self.ear, self.onset = Ear(self.options.record), Onset()
        if self.options.wrong:
            return WrongCall(self.options.wrong)
        from native_call import NativeCall
        return NativeCall(self._heard)

    def _heard(self, pcm):
        if self.ear is None:
            return
        now = time.time()
        if now - self.heard_at > SILENCE:
            self.since, self.onset = None, Onset()
        self.heard_at = now
        for hz in self.onset.hear(pcm):
            self.since = round(now, 3) if hz else None
            if hz:
                say("sound", hz=hz)
        for verdict in self.ear.hear(pcm):
            say("tone", second=self.ear.seconds, since=self.since, **verdict)

    async def dial(self, to):
        """Requests a call."""
        self.id, self.call, self.outgoing = to_blob(os.urandom(16)), self._new_call(), True
        self.p2p = True
        commitment = await self.call.begin()
        say("dialling", to=to, call=self.id)
        await self.link.ask(
            "call.request", call=self.id, to=to, library_versions=self.options.versions, udp_p2p=True,
            exchanges=[{"name": "dh2048", "commitment": to_blob(commitment)}])

    async def run(self):
        """Lives until the last call is over or the connection ends."""
        if self.options.dial:
            await self.dial(self.options.dial)
        calls = 0
        while True:
            getter = asyncio.create_task(self.link.events.get())
            waiter = asyncio.create_task(self.hangup.wait())
            done, _ = await asyncio.wait([getter, waiter], return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            if getter not in done:
                getter.cancel()
                if self.id:
                    await self._discard("hangup")
                return
            event = getter.result()
            if event is None:
                say("closed")
                await self._end(None)
                return
            ended = await self._event(event)
            calls += ended
            if ended and (self.options.dial or calls == self.options.calls):
                return

    async def _event(self, event):
        """Handles one event; true if it ended a call."""
        verb, call = event["verb"], event["call"]
        if verb == "call.request":
            return await self._requested(event)
        if call != self.id:
            return False
        try:
            if verb == "call.received":
                say("ringing")
            elif verb == "call.accept":
                await self._accepted(event)
            elif verb == "call.confirm":
                await self._confirmed(event)
            elif verb == "call.signal":
                self.received += 1
                self._carry(self._take_signal, self.call, from_blob(event["packet"]))
            elif verb in ("call.discard", "call.taken"):
                await self._end(event.get("reason", "taken"))
                return True
        except Refused as refused:
            say("refused", verb=refused.verb, code=refused.code)
            await self._discard("disconnect")
            return True
        except Exception as error:  # noqa: BLE001 - ntgcalls has many, and each ends the call.
            say("failed", why=f"{type(error).__name__}: {error}")
            await self._discard("disconnect")
            return True
        return False

    async def _requested(self, event):
        say("incoming", caller=event["from"], to=event["to"], call=event["call"],
            exchanges=[offer["name"] for offer in event["exchanges"]], versions=event["library_versions"])
        offers = {offer["name"]: from_blob(offer["commitment"]) for offer in event["exchanges"]}
        self.version = newest(self.options.versions, event["library_versions"])
        refuse = None
        if self.id or self.options.mode == "busy":
            refuse = "busy"
        elif self.options.mode == "decline":
            refuse = "declined"
        elif self.version is None or "dh2048" not in offers:
            refuse = "disconnect"
        if refuse:
            await self.link.ask("call.discard", call=event["call"], reason=refuse, duration=0)
            say("discarded", reason=refuse, by="us")
            return self.id is None
        self.id, self.p2p = event["call"], event["udp_p2p"]
        await self.link.ask("call.received", call=self.id)
        say("ringing")
        if self.options.mode == "answer":
            self.tasks.append(asyncio.create_task(self._answer(self.id, offers["dh2048"])))
        return False

    async def _answer(self, call, commitment):
        await asyncio.sleep(self.options.answer_after)
        self.call = self._new_call()
        try:
            public = await self.call.answer(commitment)
            await self.link.ask("call.accept", call=call, exchange="dh2048", library_version=self.version,
                                public=to_blob(public))
        except Refused as refused:
            say("refused", verb=refused.verb, code=refused.code)
            return
        say("accepted", version=self.version)

    async def _accepted(self, event):
        self.version = event["library_version"]
        public, fingerprint = await self.call.reveal(from_blob(event["public"]))
        await self.link.ask("call.confirm", call=self.id, public=to_blob(public), fingerprint=str(fingerprint))
        say("accepted", version=self.version)
        await self._begin(event)

    async def _confirmed(self, event):
        await self.call.check(from_blob(event["public"]), int(event["fingerprint"]))
        await self._begin(event)

    async def _begin(self, event):
        shown = await self.call.emojis()
        if isinstance(shown, str):
            shown = split_emojis(shown, self.table)
            indices = [self.table.index(emoji) if emoji in self.table else None for emoji in shown]
        else:
            indices, shown = shown, [self.table[index] for index in shown]
        say("emojis", emojis=shown, indices=indices)
        self.tasks.append(asyncio.create_task(self._send_signals()))
        self.tasks.append(asyncio.create_task(self._watch()))
        await self.call.connect(self.version, self.p2p, event.get("reflectors", []), event.get("ice_servers", []))

    async def _send_signals(self):
        while True:
            packet = bytearray(await self.call.signals.get())
            self.sent += 1
            every = self.options.tamper_signals
            if every and self.sent % every == 0:
                packet[-1] ^= 1
            self._carry(self._send_signal, self.id, packet)

    def _carry(self, function, call, packet):
        """Loses a packet, or carries it after a while, as a bad network would; at once and in order on a good one."""
        if self.chance.random() * 100 < self.options.lose_signals:
            return
        delay = self.chance.random() * self.options.jitter / 1000
        loop = asyncio.get_running_loop()
        loop.call_later(delay, lambda: self.tasks.append(loop.create_task(function(call, packet))))

    async def _take_signal(self, call, packet):
        if call is self.call:
            await call.signal(packet)

    async def _send_signal(self, call, packet):
        if call != self.id:
            return
        answer = await self.link.send("call.signal", call=call, packet=to_blob(packet))
        answer.add_done_callback(self._signal_answered)

    def _signal_answered(self, answer):
        if not answer.cancelled() and answer.exception():
            self.unsent += 1

    async def _watch(self):
        while True:
            state = await self.call.states.get()
            say("state", state=state)
            if state == "connected" and self.live_since is None:
                self.live_since, self.connected = time.monotonic(), True
                say("connected", version=self.version)
                self.call.play(Speech(self.options.play) if self.options.play else Tone(self.options.tone))
                if self.options.hangup_after is not None:
                    loop = asyncio.get_running_loop()
                    self.tasks.append(loop.call_later(self.options.hangup_after, self.hangup.set))
            elif state in ("failed", "timeout"):
                self.hangup.set()

    async def _discard(self, reason):
        duration = int(time.monotonic() - self.live_since) if self.live_since else 0
        try:
            await self.link.ask("call.discard", call=self.id, reason=reason, duration=duration)
        except (Refused, asyncio.TimeoutError):
            pass  # The other side was faster.
        await self._end(reason, by="us")

    async def _end(self, reason, by="them"):
        if self.id is None:
            return
        for task in self.tasks:
            task.cancel()
        if self.call:
            await self.call.stop()
        if self.ear:
            self.ear.close()
        seconds = round(time.monotonic() - self.live_since, 1) if self.live_since else 0
        say("discarded", reason=reason, by=by, seconds=seconds,
            signals={"sent": self.sent, "received": self.received, "refused": self.unsent})
        self._reset()


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", required=True, help="ws://address:port/hub/v1")
    token = parser.add_mutually_exclusive_group(required=True)
    token.add_argument("--token", help="as `quartet invite` printed it")
    token.add_argument("--token-file", type=pathlib.Path, help="a file that holds the token")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--answer", dest="mode", action="store_const", const="answer", help="answer calls (default)")
    mode.add_argument("--no-answer", dest="mode", action="store_const", const="ring", help="let calls ring")
    mode.add_argument("--busy", dest="mode", action="store_const", const="busy", help="say busy to every call")
    mode.add_argument("--decline", dest="mode", action="store_const", const="decline", help="decline every call")
    mode.add_argument("--dial", metavar="USER", help="call USER or EXTENSION@GATEWAY")
    parser.set_defaults(mode="answer")
    parser.add_argument("--answer-after", type=float, default=0.0, metavar="S", help="ring this long first")
    parser.add_argument("--hangup-after", type=float, metavar="S", help="hang up S seconds after media is up")
    parser.add_argument("--max-time", type=float, metavar="S", help="hang up and end after S seconds, come what may")
    parser.add_argument("--calls", type=int, default=1, metavar="N", help="end after N answered calls; 0: never")
    parser.add_argument("--versions", default="8.0.0,9.0.0,12.0.0,13.0.0", help="signalling versions, with commas")
    parser.add_argument("--tone", type=float, default=600.0, metavar="HZ", help="what to play; 0: silence")
    parser.add_argument("--play", metavar="FILE", help="play this WAV (48 kHz, mono) instead, again and again")
    parser.add_argument("--record", metavar="FILE", help="write what is heard as WAV")
    parser.add_argument("--wrong", choices=WRONGS, help="break the key exchange, without ntgcalls")
    parser.add_argument("--tamper-signals", type=int, default=0, metavar="N", help="spoil every Nth packet sent")
    parser.add_argument("--lose-signals", type=float, default=0, metavar="P", help="lose P per cent of signals, each way")
    parser.add_argument("--jitter", type=float, default=0, metavar="MS", help="delay each signal by 0 to MS ms")
    parser.add_argument("--seed", type=int, default=1, help="of what is lost and delayed")
    options = parser.parse_args()
    options.versions = options.versions.split(",")
    return options


async def main(options):
    token = options.token or options.token_file.read_text(encoding="ascii").strip()
    try:
        link, welcome = await Link.open(options.hub, token, "quartet test peer")
    except (Refused, OSError) as error:
        say("refused", verb="hello", code=getattr(error, "code", None), why=str(error))
        return 4
    say("registered", account=welcome["account"], protocol=welcome["protocol"], limits=welcome["limits"])
    peer = Peer(link, welcome["account"], options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, peer.hangup.set)
    if options.max_time is not None:
        loop.call_later(options.max_time, peer.hangup.set)
    try:
        await peer.run()
    except Refused as refused:
        say("refused", verb=refused.verb, code=refused.code, retry_after=refused.retry_after)
        return 4
    finally:
        await link.close()
    return 0 if peer.connected or options.wrong or options.mode in ("busy", "decline") else 3


if __name__ == "__main__":
    code = asyncio.run(main(arguments()))
    sys.stdout.flush()
    # ntgcalls keeps threads that may outlive the interpreter's patience.
    os._exit(code)
