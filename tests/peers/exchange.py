"""The key exchange `dh2048` in plain Python, for peers that do it wrong on purpose. Not constant-time: tests only."""

import hashlib
import secrets

P_BYTES = bytes.fromhex(
    "C71CAEB9C6B1C9048E6C522F70F13F73980D40238E3E21C14934D037563D930F"
    "48198A0AA7C14058229493D22530F4DBFA336F6E0AC925139543AED44CCE7C37"
    "20FD51F69458705AC68CD4FE6B6B13ABDC9746512969328454F18FAF8C595F64"
    "2477FE96BB2A941D5BCD1D4AC8CC49880708FA9B378E3C4F3A9060BEE67CF9A4"
    "A4A695811051907E162753B56B0F6B410DBA74D8A84B2A14B3144E0EF1284754"
    "FD17ED950D5965B4B9DD46582DB1178D169C6BC465B0D6FF9CA3928FEF5B9AE4"
    "E418FC15E83EBEA0F87FA9FF5EED70050DED2849F47BF959D956850CE929851F"
    "0D8115F635B105EE2E4E15D04B2454BF6F4FADF034B10403119CD8E3B92FCC5B"
)
P = int.from_bytes(P_BYTES, "big")
G = 3


class Secret:
    """One side's secret of one call."""

    def __init__(self):
        while True:
            self._exponent = secrets.randbits(2048)
            self.public = pow(G, self._exponent, P).to_bytes(256, "big")
            if self.public[0]:
                return

    def commitment(self):
        """SHA-256 of the public value."""
        return hashlib.sha256(self.public).digest()

    def key(self, other):
        """The shared key, 256 bytes."""
        return pow(int.from_bytes(other, "big"), self._exponent, P).to_bytes(256, "big")


def fingerprint(key):
    """The key's fingerprint, signed."""
    return int.from_bytes(hashlib.sha1(key).digest()[12:20], "little", signed=True)


def emoji_indices(key, public_of_caller):
    """Which of the 333 emojis are shown."""
    digest = hashlib.sha256(key + public_of_caller).digest()
    return [(int.from_bytes(digest[at:at + 8], "big") & (2**63 - 1)) % 333 for at in range(0, 32, 8)]
