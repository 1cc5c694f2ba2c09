#!/usr/bin/env python3
"""A user of the telegram network with unmodified clients (Telethon, PyTgCalls): answers or dials, plays a tone, says what it sees and hears.

Prints one JSON object a line. SIGTERM and SIGINT hang up and end. The service is the data centre of the tests; nothing else is reached.
"""

import argparse
import asyncio
import json
import os
import pathlib
import signal
import sys
import time

from pytgcalls import PyTgCalls
from pytgcalls.types import CallConfig, ChatUpdate, Device, Direction, StreamFrames, UpdatedEmojis
from pytgcalls.types.raw import AudioParameters, AudioStream, Stream
from ntgcalls import MediaSource
from telethon import TelegramClient, functions
from telethon.crypto import rsa
from telethon.sessions import MemorySession

from hearing import Ear, Tone
from hub_peer import emoji_table, split_emojis

START = time.monotonic()


def say(event, **fields):
    """Prints one event."""
    line = {"t": round(time.monotonic() - START, 3), "event": event, **fields}
    print(json.dumps(line, ensure_ascii=False), flush=True)


def stream():
    """Sound from and to this program."""
    return Stream(microphone=AudioStream(MediaSource.EXTERNAL, "", AudioParameters(48000, 1)))


class User:
    """One user, with at most one call."""

    def __init__(self, client, calls, options):
        self.client, self.calls, self.options = client, calls, options
        self.ear, self.tone, self.table = Ear(options.record), Tone(options.tone), emoji_table()
        self.peer, self.playing = None, None
        self.over = asyncio.Event()

    async def on_update(self, _client, update):
        """What PyTgCalls says."""
        if isinstance(update, StreamFrames):
            if update.direction == Direction.INCOMING:
                for frame in update.frames:
                    for verdict in self.ear.hear(frame.frame):
                        say("tone", second=self.ear.seconds, **verdict)
                        if verdict["rms"] > 1000:
                            await self.write_keys()
        elif isinstance(update, UpdatedEmojis):
            shown = split_emojis("".join(update.emojis), self.table)
            indices = [self.table.index(emoji) if emoji in self.table else None for emoji in shown]
            say("emojis", emojis=shown, indices=indices)
        elif isinstance(update, ChatUpdate):
            if update.status & ChatUpdate.Status.INCOMING_CALL:
                say("incoming", caller=update.chat_id)
                if self.options.mode == "answer":
                    asyncio.ensure_future(self.take(update.chat_id))
            else:
                if self.playing:
                    self.playing.cancel()
                say("ended", status=str(update.status))
                self.over.set()

    async def take(self, peer):
        """Calls or answers, and talks."""
        self.peer = peer
        if self.options.decline:
            await self.calls.leave_call(peer)
            say("declined")
            return
        try:
            await self.calls.play(peer, stream(), CallConfig(timeout=self.options.ring_timeout))
        except Exception as error:  # noqa: BLE001 - whatever the client says is what the test wants to see
            say("failed", why=type(error).__name__, text=str(error))
            self.over.set()
            return
        say("connected")
        await self.calls.record(peer, stream())
        self.playing = asyncio.ensure_future(self.play())

    async def write_keys(self):
        """Writes the keys in the chat, once: whoever hears something is heard as well."""
        keys, self.options.keys = self.options.keys, None
        if keys:
            await self.client.send_message(self.peer, keys)

    async def play(self):
        """Sends a tone in time."""
        began, sent = time.monotonic(), 0
        while True:
            await self.calls.send_frame(self.peer, Device.MICROPHONE, self.tone.frame())
            sent += 1
            await asyncio.sleep(max(0, began + sent * 0.01 - time.monotonic()))

    async def hang_up(self):
        """Ends the call, if there is one."""
        if self.playing:
            self.playing.cancel()
        if self.peer:
            try:
                await self.calls.leave_call(self.peer)
            except Exception as error:  # noqa: BLE001 - it may be over
                say("left", why=type(error).__name__)


async def main(options):
    """Logs in, calls or waits."""
    rsa.add_key(pathlib.Path(options.key).read_text(encoding="ascii"), old=False)
    host, port = options.dc.rsplit(":", 1)
    session = MemorySession()
    session.set_dc(2, host, int(port))
    client = TelegramClient(session, 12345, "0" * 32)
    await client.connect()
    await client.start(phone=lambda: options.phone, code_callback=lambda: options.code)
    await client(functions.contacts.GetContactsRequest(0))
    calls = PyTgCalls(client)
    user = User(client, calls, options)
    calls.on_update()(user.on_update)
    await calls.start()
    say("registered")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.dial:
        peer = await client.get_input_entity(options.dial)
        asyncio.ensure_future(user.take(peer.user_id))
    try:
        await asyncio.wait_for(stop.wait(), options.max_time)
    except asyncio.TimeoutError:
        say("time is over")
    await user.hang_up()
    user.ear.close()
    # The client's threads do not end by themselves.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dc", required=True, help="address:port of the data centre")
    parser.add_argument("--key", required=True, help="a file with its public key (PEM)")
    parser.add_argument("--phone", required=True, help="the user's telephone number")
    parser.add_argument("--code", required=True, help="the code that he is sent")
    parser.add_argument("--answer", dest="mode", action="store_const", const="answer", default="answer")
    parser.add_argument("--no-answer", dest="mode", action="store_const", const="ring", help="let calls ring")
    parser.add_argument("--decline", action="store_true", help="decline every call")
    parser.add_argument("--dial", metavar="USER", help="call this user")
    parser.add_argument("--ring-timeout", type=int, default=60, metavar="S", help="how long a call may ring")
    parser.add_argument("--keys", metavar="KEYS", help="write these in the chat once something is heard")
    parser.add_argument("--tone", type=float, default=600.0, metavar="HZ", help="what to play")
    parser.add_argument("--record", metavar="FILE", help="write what is heard as WAV")
    parser.add_argument("--max-time", type=float, default=180, metavar="S")
    asyncio.run(main(parser.parse_args()))
