"""A peer that breaks the key exchange or stays silent after it, on purpose. It has no media."""

import asyncio
import hashlib
import os

from exchange import P_BYTES, Secret, emoji_indices, fingerprint

WRONGS = ("public", "fingerprint", "small", "large", "silent", "garbage")


class WrongCall:
    """Stands where `NativeCall` stands. `wrong` says what it does:

    public: reveals another public value than committed to. fingerprint: sends another fingerprint.
    small, large: its public value is 1, or p - 1. silent: sends no signalling packet. garbage: sends random ones.
    """

    def __init__(self, wrong):
        self._wrong = wrong
        self._secret = Secret()
        self._key = None
        self._caller_public = None
        self.signals = asyncio.Queue()
        self.states = asyncio.Queue()

    def _public(self):
        if self._wrong == "small":
            return b"\x01"
        if self._wrong == "large":
            return P_BYTES[:-1] + bytes([P_BYTES[-1] - 1])
        return self._secret.public

    async def begin(self):
        """Caller: the commitment."""
        if self._wrong in ("small", "large"):
            return hashlib.sha256(self._public()).digest()
        return self._secret.commitment()

    async def reveal(self, public_of_callee):
        """Caller: its public value and the fingerprint, one of them wrong."""
        if self._wrong == "public":
            self._secret = Secret()
        self._key, self._caller_public = self._secret.key(public_of_callee), self._public()
        wrong = 1 if self._wrong == "fingerprint" else 0
        return self._caller_public, fingerprint(self._key) ^ wrong

    async def answer(self, _commitment):
        """Callee: its public value."""
        return self._public()

    async def check(self, public_of_caller, _fingerprint):
        """Callee: takes whatever the caller says."""
        self._key, self._caller_public = self._secret.key(public_of_caller), public_of_caller

    async def emojis(self):
        """The four emojis by number; this peer has no table of its own."""
        return emoji_indices(self._key, self._caller_public)

    async def connect(self, _version, _p2p):
        """Begins to be silent, or not."""
        if self._wrong == "garbage":
            for _ in range(50):
                self.signals.put_nowait(os.urandom(200))

    async def signal(self, _packet):
        """Ignores a packet."""

    def play(self, _hz):
        """Has nothing to play with."""

    async def stop(self):
        """Is over."""
