#!/usr/bin/env python3
"""A client of the hub, written by somebody who had docs/hub-protocol.md alone: a test that the page is enough.

usage: client.py URL TOKEN CALLEE [--versions 9.0.0,...] [--seconds N] [--drop S] [--exchange x25519,dh2048]"""
import argparse, asyncio, base64, gzip, hashlib, hmac, json, os, random, struct, sys, time, math, zlib
import numpy as np
import websockets
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
import aiortc.rtcsctptransport as sctpmod
from aiortc.rtcsctptransport import RTCSctpTransport, RTCSctpCapabilities
from aiortc import (RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport, RTCIceServer,
                    RTCDataChannel)
from aiortc.rtcdatachannel import RTCDataChannelParameters
from aiortc.rtcdtlstransport import RTCDtlsParameters, RTCDtlsFingerprint
from aiortc.rtcicetransport import RTCIceParameters
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp
from aiortc.rtp import (RtpPacket, RtcpPacket, RtcpSrPacket, RtcpRrPacket, RtcpSdesPacket, RtcpSourceInfo,
                        RtcpSenderInfo, RtcpReceiverInfo)
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterFrame
from av import AudioFrame
import aiortc.clock as clock

EMOJIS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../proto/src/e2ee/emojis.tsv")
T0 = time.monotonic()
def log(*a): print(f"[{time.monotonic()-T0:7.3f}]", *a, flush=True)

def b64(b): return base64.urlsafe_b64encode(b).rstrip(b"=").decode()
def unb64(s):
    if "=" in s: raise ValueError("padding")
    return base64.b64decode(s + "=" * (-len(s) % 4), altchars=b"-_", validate=True)

# ---------------------------------------------------------------- key exchange
P = int("""C71CAEB9C6B1C9048E6C522F70F13F73980D40238E3E21C14934D037563D930F48198A0AA7C14058229493D22530F4DBFA336F6E0AC925139543AED44CCE7C37
20FD51F69458705AC68CD4FE6B6B13ABDC9746512969328454F18FAF8C595F642477FE96BB2A941D5BCD1D4AC8CC49880708FA9B378E3C4F3A9060BEE67CF9A4
A4A695811051907E162753B56B0F6B410DBA74D8A84B2A14B3144E0EF1284754FD17ED950D5965B4B9DD46582DB1178D169C6BC465B0D6FF9CA3928FEF5B9AE4
E418FC15E83EBEA0F87FA9FF5EED70050DED2849F47BF959D956850CE929851F0D8115F635B105EE2E4E15D04B2454BF6F4FADF034B10403119CD8E3B92FCC5B""".replace("\n", ""), 16)

class X25519:
    name = "x25519"
    def __init__(self, secret=None):
        self.k = X25519PrivateKey.from_private_bytes(secret or os.urandom(32))
        self.public = self.k.public_key().public_bytes_raw()
    def key(self, peer, call, caller, callee, A=None):
        """A: the caller's public value, if we are the callee"""
        if len(peer) != 32: raise ValueError("length")
        ss = self.k.exchange(X25519PublicKey.from_public_bytes(peer))   # raises for all zero
        if ss == bytes(32): raise ValueError("zero")
        salt = hashlib.sha256(self.public + peer if A is None else A + self.public).digest()
        info = b"quartet call key v1" + call + caller.encode() + b"\0" + callee.encode() + b"/x25519"
        return HKDF(algorithm=hashes.SHA256(), length=256, salt=salt, info=info).derive(ss)

class DH2048:
    name = "dh2048"
    def __init__(self):
        while True:
            self.a = int.from_bytes(os.urandom(256), "big")
            self.public = pow(3, self.a, P).to_bytes(256, "big")
            if self.public[0]: break
    def key(self, B, call, caller, callee, A=None):
        b = int.from_bytes(B, "big")
        if b < 1 << 1984 or b > P - (1 << 1984): raise ValueError("range")
        return pow(b, self.a, P).to_bytes(256, "big")

def fingerprint(key): return struct.unpack("<q", hashlib.sha1(key).digest()[12:20])[0]

EMOJI = {}
def load_emojis(path):
    for line in open(path, encoding="utf-8"):
        if line.startswith("#"): continue
        f = line.rstrip("\n").split("\t")
        EMOJI[int(f[0])] = f[2]
    assert len(EMOJI) == 333
def emojis(key, A):
    h = hashlib.sha256(key + A).digest()
    return [(struct.unpack(">Q", h[8*i:8*i+8])[0] & 0x7fffffffffffffff) % 333 for i in range(4)]

# ---------------------------------------------------------------- sealing
def _aes(key, x, msg_key, data):
    a = hashlib.sha256(msg_key + key[x:x+36]).digest()
    b = hashlib.sha256(key[40+x:76+x] + msg_key).digest()
    e = Cipher(algorithms.AES(a[0:8] + b[8:24] + a[24:32]), modes.CTR(b[0:4] + a[8:16] + b[24:28])).encryptor()
    return e.update(data) + e.finalize()
def _msg_key(key, x, plain): return hashlib.sha256(key[88+x:120+x] + plain).digest()[8:24]
def seal(key, x, plain):
    m = _msg_key(key, x, plain)
    return m + _aes(key, x, m, plain)
def unseal(key, x, data):
    if not 21 <= len(data) <= 131072: raise ValueError("size")
    plain = _aes(key, x, data[:16], data[16:])
    if not hmac.compare_digest(_msg_key(key, x, plain), data[:16]): raise ValueError("msg_key")
    return plain

def vector():
    call = bytes.fromhex("30313233343536373839616263646566")
    a = bytes.fromhex("101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f")
    x = X25519(a)
    assert x.public.hex() == "d89e3bad79437dbed9f843418304f460ff05c7fe81fe4a9577a804cb9367ff66"
    assert hashlib.sha256(x.public).hexdigest() == "1aeb44c4f0f5c20c04e3e5fd6ba8ee4df28c51f022b4e154fbb9bb3aa71353b0"
    b = X25519(bytes.fromhex("404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"))
    assert b.public.hex() == "79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a"
    key = x.key(b.public, call, "anna", "100@gw")
    assert key.hex() == ("77264a3dbc0fe01f94f27b6e3bf29539adc8a908bbe86cfcbe4e73efd48172fcede538a1d935c6d46cf7cd3ecf38c7d2126d0c9cc1eef6afb84ad3c0b2e55f5f"
        "928329a08d9e606af43c67ad0bb0254863ad9a300bd74179e071c8e463f4d8e15c4395f07508019c29fefca5cf4da87175d854f8b3eb6b4760bd490b6cc437cf"
        "5e81ecad8b94d2a3ad07ceecc8f69215b3aac70819a2e82e273280ab9d8d4b9627fff4bee5e00bf29a0b938f8c1238d39719d7a7d594ba0e9ecb2295b9fbb0f5"
        "0386bb3941157d8cb8b72dcaa336790fec22399de549550b9a9de77884d59fe1ae49539ff78f5de65a01a0c902c6bcb789ab283428e2a4b764b6dc788d3b3451")
    assert fingerprint(key) == -6953073568607013627
    e = emojis(key, x.public)
    assert e == [113, 226, 324, 107], e
    j = b'{"@type":"MediaState","muted":true}'
    plain = struct.pack(">IBI", 0x40000001, 0x7f, len(j)) + j
    assert plain.hex() == "400000017f000000237b224074797065223a224d656469615374617465222c226d75746564223a747275657d"
    packet = seal(key, 128, plain)
    assert packet.hex() == "2a5a7a444ea9d2fc34f75d83867d9b9e57093e344f807629e935cbe9f9635c202d917a1e67a6ffb2082f8d09b461b02d379eccb8be3e3eb1efaeb727"
    assert unseal(key, 128, packet) == plain
    log("vector ok:", e, " ".join(EMOJI[i] for i in e))

# ---------------------------------------------------------------- hub
class HubError(Exception):
    def __init__(self, e): super().__init__(e.get("code"), e.get("message")); self.code = e.get("code"); self.retry = e.get("retry_after")

class Hub:
    def __init__(self, url, token, on_event):
        self.url, self.token, self.on_event = url, token, on_event
        self.ws = None; self.next_id = 1; self.pending = {}; self.last_seq = 0
        self.session = self.secret = None; self.closing = False; self.up = asyncio.Event()
        self.dropped = 0
    async def connect(self):
        self.ws = await websockets.connect(self.url, max_size=262144)
        await self._hello()
        self.task = asyncio.create_task(self._run())
    def _id(self):
        i = self.next_id; self.next_id += 1; return i
    async def _hello(self):
        h = {"id": self._id(), "verb": "hello", "protocol": {"min": 1, "max": 2}, "client": "reader 0.1", "token": self.token}
        if self.session: h["resume"] = {"session": self.session, "secret": self.secret, "last_seq": self.last_seq}
        await self.ws.send(json.dumps(h))
        while True:
            f = json.loads(await self.ws.recv())
            if f.get("answer") == h["id"]: break
            log("!! before hello's answer:", f)
        if "error" in f: raise HubError(f["error"])
        self.result = r = f["result"]
        log("hello:", json.dumps({k: (v if k not in ("resume_secret", "session") else v[:4] + "…") for k, v in r.items()}))
        self.secret, self.session = r.get("resume_secret"), r.get("session", self.session)
        for i in sorted(self.pending):                     # unanswered: again with their ids
            await self.ws.send(self.pending[i][0])
        if self.pending: log("sent again", sorted(self.pending))
        self.up.set()
    async def _run(self):
        while not self.closing:
            try:
                async for m in self.ws:
                    f = json.loads(m)
                    if "answer" in f:
                        p = self.pending.pop(f["answer"], None)
                        if p is None: log("answer to nothing:", f); continue
                        if not p[1].done():
                            if "error" in f: p[1].set_exception(HubError(f["error"]))
                            else: p[1].set_result(f["result"])
                    else:
                        if "seq" in f:
                            if f["seq"] != self.last_seq + 1: log("!! seq jumps", self.last_seq, f["seq"])
                            if f["seq"] <= self.last_seq: continue
                            self.last_seq = f["seq"]
                        await self.on_event(f)
            except websockets.ConnectionClosed: pass
            log("websocket closed:", self.ws.close_code, self.ws.close_reason)
            if self.closing: return
            self.up.clear()
            await asyncio.sleep(self.dropped or 0.2)
            self.dropped = 0
            try:
                self.ws = await websockets.connect(self.url, max_size=262144)
                await self._hello()
            except (HubError, OSError) as e:
                log("resume failed", e); return
    async def drop(self, seconds):
        self.dropped = seconds
        self.ws.transport.abort()
    def request(self, verb, **kw):
        i = self._id()
        text = json.dumps({"id": i, "verb": verb, **kw})
        fut = asyncio.get_running_loop().create_future()
        self.pending[i] = (text, fut)
        asyncio.create_task(self._send(text))
        return fut
    async def _send(self, text):
        if not self.up.is_set(): return                    # goes again after the resume
        try: await self.ws.send(text)
        except websockets.ConnectionClosed: pass
    async def close(self):
        self.closing = True
        await self.ws.close()

# ---------------------------------------------------------------- signalling 8/9
class AckSignalling:
    ALONE, WANT = 1 << 31, 1 << 30
    def __init__(self, key, caller, send, deliver):
        self.key, self.out, self.deliver = key, send, deliver
        self.x, self.px = (128, 136) if caller else (136, 128)
        self.counter = 0; self.unacked = {}                # seq -> bytes, in order
        self.seen_packets = set(); self.largest = 0; self.got = set()
        self.timer = None; self.step = 0
        self.stats = dict(sent=0, got=0, dup=0, again=0)
    def _next(self): self.counter += 1; return self.counter
    def message(self, obj):
        j = json.dumps(obj, separators=(",", ":")).encode()
        seq = self._next() | self.WANT
        new = not self.unacked
        self.unacked[seq] = struct.pack(">IBI", seq, 0x7f, len(j)) + j
        log("> ", json.dumps(obj))
        if new: self._emit(self.unacked[seq]); self.step = 0; self._arm()
        else: self._flush()
    def _emit(self, plain):
        self.stats["sent"] += 1
        self.out(seal(self.key, self.x, plain))
    def _flush(self, acks=()):
        plain = struct.pack(">IB", self._next(), 0xfe)
        for s in acks: plain += struct.pack(">IB", s, 0xff)
        for m in self.unacked.values(): plain += m
        self._emit(plain)
    def _arm(self):
        if self.timer: self.timer.cancel()
        d = (0.6, 1.2, 2, 3)[min(self.step, 3)]; self.step += 1
        self.timer = asyncio.get_running_loop().call_later(d, self._again)
    def _again(self):
        self.timer = None
        if self.unacked: self.stats["again"] += 1; self._flush(); self._arm()
    def packet(self, data):
        try: plain = unseal(self.key, self.px, data)
        except ValueError as e: log("!! dropped packet:", e); return
        self.stats["got"] += 1
        pos, first, acks, out = 0, True, [], []
        while pos < len(plain):
            seq, typ = struct.unpack_from(">IB", plain, pos); pos += 5
            n = seq & 0x3fffffff
            if first:
                if n in self.seen_packets or n + 64 <= self.largest: self.stats["dup"] += 1; log("replayed packet", n); return
                self.seen_packets.add(n); self.largest = max(self.largest, n)
            if typ == 0x7f:
                (ln,) = struct.unpack_from(">I", plain, pos); body = plain[pos+4:pos+4+ln]; pos += 4 + ln
                if os.environ.get("DEBUG"): log(f"   rx seq {seq:08x} first={first}")
                if seq & self.WANT: acks.append(seq)
                if n not in self.got: self.got.add(n); out.append(body)
            elif typ == 0xfe:
                if not first: log("!! fe not first"); return
                if os.environ.get("DEBUG"): log(f"   rx fe seq {seq:08x}")
            elif typ == 0xff:
                if first: log("!! ff first"); return
                if self.unacked.pop(seq, None) is None and os.environ.get("DEBUG"): log(f"   rx ack of nothing {seq:08x}")
            else: log("!! unknown type", typ); return
            first = False
        if not self.unacked and self.timer: self.timer.cancel(); self.timer = None
        if acks: self._flush(acks)
        for b in out: self.deliver(json.loads(b))

# ---------------------------------------------------------------- signalling 12/13
class SctpWire:
    """what RTCSctpTransport wants of a DTLS transport"""
    state = "connected"; _role = "client"
    def __init__(self, out): self.out = out
    def _register_data_receiver(self, r): pass
    def _unregister_data_receiver(self, r): pass
    async def _send_data(self, data): self.out(data)

class SigSctp(RTCSctpTransport):
    on_message = None; got_any = False
    async def _receive(self, stream, ppid, data): self.on_message(stream, ppid, data)
    def _set_state(self, s):
        super()._set_state(s)
        log("signalling sctp", s)
        if s == self.State.ESTABLISHED: self.established.set()

class SctpSignalling:
    def __init__(self, key, caller, send, deliver):
        self.key, self.deliver = key, deliver
        self.x, self.px = (128, 136) if caller else (136, 128)
        self.counter = 0; self.got = set(); self.largest = 0
        self.stats = dict(sent=0, got=0)
        def out(d): self.stats["sent"] += 1; send(d)
        self.s = SigSctp(SctpWire(out), 5000)
        self.s.established = asyncio.Event(); self.s.on_message = self._message
        self.s._remote_port = 5000
        self.s._RTCSctpTransport__started = True
        self.inbox = asyncio.Queue(); self.outbox = asyncio.Queue()
        self.tasks = [asyncio.create_task(t) for t in (self._pump_in(), self._pump_out(), self._init(0.3 if caller else 1))]
    async def _init(self, delay):
        await asyncio.sleep(delay)
        if not self.s._remote_verification_tag:
            log("no INIT for", delay, "s: ours"); await self.s._init()
    async def _pump_in(self):
        while True:
            d = await self.inbox.get()
            try: await self.s._handle_data(d)
            except Exception as e: log("!! sctp", repr(e))
    async def _pump_out(self):
        await self.s.established.wait()
        while True:
            await self.s._send(0, 53, await self.outbox.get())
    def packet(self, data): self.stats["got"] += 1; self.inbox.put_nowait(data)
    def message(self, obj):
        log("> ", json.dumps(obj))
        self.counter += 1
        self.outbox.put_nowait(seal(self.key, self.x, struct.pack(">I", self.counter) + gzip.compress(json.dumps(obj).encode())))
    def _message(self, stream, ppid, data):
        try: plain = unseal(self.key, self.px, data)
        except ValueError as e: log("!! dropped message:", e, stream, ppid); return
        n = struct.unpack(">I", plain[:4])[0]
        if n in self.got or n + 64 <= self.largest: log("replay", n); return
        self.got.add(n); self.largest = max(n, self.largest)
        body = plain[4:]
        if body[:2] == b"\x1f\x8b":
            d = zlib.decompressobj(31); body = d.decompress(body, 2 << 20)
            if d.unconsumed_tail: log("!! too large"); return
        self.deliver(json.loads(body))

# ---------------------------------------------------------------- media
class Dtls(RTCDtlsTransport):
    media = None
    async def _handle_rtp_data(self, data, arrival_time_ms): self.media.rtp(data, arrival_time_ms)
    async def _handle_rtcp_data(self, data): self.media.rtcp(data)

class Call:
    OPUS = {"id": 111, "name": "opus", "clockrate": 48000, "channels": 2, "parameters": {"minptime": "10", "useinbandfec": "1"}}
    TEL = {"id": 110, "name": "telephone-event", "clockrate": 48000, "channels": 1}
    def __init__(self, hub, callee, versions, exchanges, caller=True, tone=600):
        self.is_caller, self.tone = caller, tone
        self.hub, self.callee = hub, callee
        self.id = os.urandom(16); self.state = "requested"
        self.versions = versions
        self.exchanges = [{"x25519": X25519, "dh2048": DH2048}[e]() for e in exchanges]
        self.caller = None; self.ended = asyncio.Event(); self.sig = None
        self.media_up = asyncio.Event()
        self.my_offer = str(random.getrandbits(32)); self.offer_open = False; self.mine = set()
        self.answered = set(); self.my_ssrc = random.getrandbits(32)
        self.tx_pt = None; self.rx_pt = {}; self.rx_ssrc = None
        self.remote_setup = None; self.cands = []; self.started = False
        self.rx = dict(n=0, oct=0, last=None, hi=None, lost=0, durs={}, pts=set()); self.pcm = np.zeros(0, np.float32)
        self.dec = OpusDecoder(); self.tx = dict(n=0, oct=0, ts=random.getrandbits(32))
        self.rtcp_seen = []; self.last_sr = (0, 0); self.last_packet = time.monotonic(); self.t_up = None
        self.away = False; self.tasks = []
    # --- hub
    async def start(self):
        self.caller = self.hub.result["account"]
        log("call", b64(self.id), "of", self.caller, "to", self.callee)
        await self.hub.request("call.request", call=b64(self.id), to=self.callee, library_versions=self.versions, udp_p2p=True,
            exchanges=[{"name": e.name, "commitment": b64(hashlib.sha256(e.public).digest())} for e in self.exchanges])
        log("requested")
    async def callee_event(self, f):
        v = f["verb"]
        if v == "call.request" and self.caller is None and f["from"] != self.hub.result["account"] + "/x":
            log("event", json.dumps(f))
            self.id, self.caller, self.callee = unb64(f["call"]), f["from"], f["to"]
            self.offered = f
            self.hub.request("call.received", call=f["call"])
            ex = [e for x in f["exchanges"] for e in self.exchanges if e.name == x["name"]]
            vs = sorted((x for x in f["library_versions"] if x in self.versions), key=lambda x: [int(p) for p in x.split(".")])
            if not ex or not vs: self.state = "accepted"; return self.fail("nothing in common", "incompatible")
            self.ex, self.version = ex[0], vs[-1]
            self.commitment = unb64([x for x in f["exchanges"] if x["name"] == ex[0].name][0]["commitment"])
            await asyncio.sleep(0.3)
            self.state = "accepted"
            self.hub.request("call.accept", call=f["call"], exchange=self.ex.name, library_version=self.version, public=b64(self.ex.public))
        elif f.get("call") != b64(self.id): log("other event", f)
        elif v == "call.confirm":
            log("event", json.dumps(f))
            if self.state == "confirmed": return
            A = unb64(f["public"])
            if not hmac.compare_digest(hashlib.sha256(A).digest(), self.commitment): return self.fail("commitment")
            self.key = self.ex.key(A, self.id, self.caller, self.callee, A)
            if f["fingerprint"] != str(fingerprint(self.key)): return self.fail("fingerprint")
            em = emojis(self.key, A); log("EMOJIS", em, " ".join(EMOJI[i] for i in em))
            self._confirmed(None)
        elif v == "call.taken": self.state = "ended"; self.ended.set()
        else: await self.event(f, True)
    async def event(self, f, passed=False):
        if not self.is_caller and not passed: return await self.callee_event(f)
        if f.get("call") != b64(self.id): log("other event", f); return
        v = f["verb"]
        if v != "call.signal": log("event", json.dumps(f))
        if v == "call.received":
            if self.state == "requested": self.state = "received"
        elif v == "call.accept":
            if self.state in ("accepted", "confirmed"): return
            if self.state != "received": return self.fail("accept too early")
            ex = [e for e in self.exchanges if e.name == f["exchange"]]
            if not ex or f["library_version"] not in self.versions: return self.fail("not offered")
            self.state = "accepted"
            e = ex[0]
            try:
                key = e.key(unb64(f["public"]), self.id, self.caller, self.callee)
            except ValueError as err: return self.fail("key exchange: %s" % err)
            self.key = key; self.version = f["library_version"]
            em = emojis(key, e.public)
            log("exchange", e.name, "version", self.version, "fingerprint", fingerprint(key))
            log("EMOJIS", em, " ".join(EMOJI[i] for i in em))
            fut = self.hub.request("call.confirm", call=b64(self.id), public=b64(e.public), fingerprint=str(fingerprint(key)))
            fut.add_done_callback(self._confirmed)
        elif v == "call.signal":
            if self.state == "accepted": self._confirmed(None)   # the hub must have confirmed
            if self.state != "confirmed": return self.fail("signal too early")
            self.sig.packet(unb64(f["packet"]))
        elif v == "call.discard":
            self.state = "ended"; self.ended.set()
        elif v == "call.away": self.away = True
        elif v == "call.back": self.away = False
        else: log("ignored", v)
    def _confirmed(self, fut):
        if fut is not None and fut.exception(): return self.fail("confirm: %s" % fut.exception())
        if self.state == "confirmed": return
        self.state = "confirmed"; log("confirmed")
        cls = AckSignalling if self.version in ("8.0.0", "9.0.0") else SctpSignalling
        self.sig = cls(self.key, self.is_caller, self.signal, self.message)
        self.tasks.append(asyncio.create_task(self.media()))
    def fail(self, why, reason="disconnect"):
        log("!! END:", why)
        if self.state != "ended":
            self.state = "ended"; self.discard(reason); self.ended.set()
    def discard(self, reason):
        d = int(time.monotonic() - self.t_up) if self.t_up else 0
        fut = self.hub.request("call.discard", call=b64(self.id), reason=reason, duration=d)
        fut.add_done_callback(lambda f: log("discard answered", f.exception() or f.result()))
        return fut
    def signal(self, packet):
        if self.state != "confirmed" or not self.hub.up.is_set(): return       # lost: signalling repeats
        f = self.hub.request("call.signal", call=b64(self.id), packet=b64(packet))
        f.add_done_callback(lambda f: log("signal refused:", f.exception()) if f.exception() else None)
    # --- media
    async def media(self):
        servers = [RTCIceServer(**{k: v for k, v in s.items() if k in ("urls", "username", "credential")}) for s in self.hub.result["ice_servers"]]
        self.gatherer = RTCIceGatherer(servers)
        self.ice = RTCIceTransport(self.gatherer); self.ice._connection.ice_controlling = self.is_caller
        self.cert = RTCCertificate.generateCertificate()
        self.dtls = Dtls(self.ice, [self.cert]); self.dtls.media = self; self.dtls._set_role("client" if self.is_caller else "server")
        fp = [f for f in self.cert.getFingerprints() if f.algorithm == "sha-256"][0]
        p = self.gatherer.getLocalParameters()
        self.sig.message({"@type": "InitialSetup", "ufrag": p.usernameFragment, "pwd": p.password, "renomination": False,
            "fingerprints": [{"hash": "sha-256", "setup": "actpass" if self.is_caller else "passive", "fingerprint": fp.value}]})
        if self.is_caller: self.offer()
        await self.gatherer.gather()
        self.sig.message({"@type": "Candidates", "candidates": [{"sdpString": "candidate:" + candidate_to_sdp(c)}
            for c in self.gatherer.getLocalCandidates() if c.component == 1 and c.protocol.lower() == "udp"]})
        self.gathered = True
        self.maybe_start()
        await asyncio.sleep(25)
        if not self.media_up.is_set(): self.fail("no connection within 25 s")
    gathered = False
    def offer(self):
        self.mine.add(self.my_offer); self.offer_open = True
        self.sig.message({"@type": "NegotiateChannels", "exchangeId": self.my_offer, "contents": [
            {"type": "audio", "ssrc": str(self.my_ssrc), "payloadTypes": [self.OPUS, self.TEL], "rtpExtensions": []}]})
    def message(self, m):
        log("< ", json.dumps(m))
        t = m.get("@type")
        if t == "InitialSetup":
            if self.remote_setup is None: self.remote_setup = m; self.maybe_start()
            elif m["ufrag"] != self.remote_setup["ufrag"]: log("!! ICE restart asked; not done here")
        elif t == "Candidates":
            for c in m["candidates"]:
                s = c["sdpString"]; s = s[10:] if s.startswith("candidate:") else s
                try: c = candidate_from_sdp(s)
                except Exception as e: log("bad candidate", s); continue
                if c.protocol.lower() != "udp" or c.component != 1: continue
                if self.started: asyncio.create_task(self.ice.addRemoteCandidate(c))
                else: self.cands.append(c)
        elif t == "NegotiateChannels": self.negotiate(m)
    def negotiate(self, m):
        ex = str(m["exchangeId"])
        if ex in self.mine:
            if ex != self.my_offer or not self.offer_open: return
            for c in m["contents"]:
                if c["type"] == "audio" and int(c["ssrc"]) & 0xffffffff == self.my_ssrc:
                    self.offer_open = False
                    for p in c["payloadTypes"]:
                        if p["name"].lower() == "opus": self.tx_pt = int(p["id"])
            log("our offer is answered: opus goes out under", self.tx_pt)
            if self.tx_pt is None: self.fail("no codec", "incompatible")
            self.maybe_talk(); return
        if ex in self.answered: return
        if self.offer_open: log("crossing offer ignored"); return
        self.answered.add(ex)
        contents = []
        for c in m["contents"]:
            if c["type"] != "audio": continue
            pts = [p for p in c["payloadTypes"] if p["name"].lower() in ("opus", "telephone-event") and int(p["clockrate"]) == 48000]
            if not any(p["name"].lower() == "opus" for p in pts): continue
            self.rx_ssrc = int(c["ssrc"]) & 0xffffffff
            for p in pts: self.rx_pt[int(p["id"])] = p["name"].lower()
            contents.append({"type": "audio", "ssrc": c["ssrc"], "payloadTypes": pts, "rtpExtensions": []})
        self.sig.message({"@type": "NegotiateChannels", "exchangeId": ex, "contents": contents})
        if not self.is_caller and not self.mine: self.offer()
        self.maybe_talk()
    def maybe_start(self):
        if self.gathered and self.remote_setup and not self.started:
            self.started = True; self.tasks.append(asyncio.create_task(self.connect()))
    async def connect(self):
        m = self.remote_setup
        for c in self.cands: await self.ice.addRemoteCandidate(c)
        await self.ice.start(RTCIceParameters(usernameFragment=m["ufrag"], password=m["pwd"]))
        log("ICE", self.ice.state, self.ice._connection._nominated)
        if self.ice.state != "completed": return self.fail("ICE")
        await self.dtls.start(RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint(f["hash"], f["fingerprint"]) for f in m["fingerprints"]]))
        log("DTLS", self.dtls.state, self.dtls._ssl.get_protocol_version_name(), self.dtls._ssl.get_cipher_name(), self.dtls._ssl.get_selected_srtp_profile())
        if self.dtls.state != "connected": return self.fail("DTLS")
        self.t_up = time.monotonic()
        self.media_up.set(); self.maybe_talk()
        self.sctp = RTCSctpTransport(self.dtls)
        @self.sctp.on("datachannel")
        def _(c):
            log("peer opened a data channel", c.label, c.id)
            c.on("message", lambda m: log("data channel <", m))
        if not self.is_caller: return await self.sctp.start(RTCSctpCapabilities(maxMessageSize=65536), 5000)
        ch = RTCDataChannel(self.sctp, RTCDataChannelParameters(label="data"))
        @ch.on("open")
        def _(): 
            log("data channel open, stream", ch.id)
            ch.send(json.dumps({"@type": "MediaState", "muted": False, "lowBattery": False, "videoState": "inactive", "videoRotation": 0, "screencastState": "inactive"}))
        @ch.on("message")
        def _(m): log("data channel <", m)
        await self.sctp.start(RTCSctpCapabilities(maxMessageSize=65536), 5000)
    talking = False
    def maybe_talk(self):
        if self.media_up.is_set() and self.tx_pt is not None and self.rx_ssrc is not None and not self.talking:
            self.talking = True; log("TALK")
            self.tasks += [asyncio.create_task(t) for t in (self.send_audio(), self.send_rtcp(), self.meter())]
    async def send_audio(self):
        enc = OpusEncoder(); seq = random.getrandbits(16); n = 0; start = time.monotonic(); pk = 0
        t0 = self.tx["ts"]
        while self.state == "confirmed":
            k = np.arange(n, n + 960)
            pcm = (np.sin(2 * np.pi * self.tone * k / 48000) * 8000).astype(np.int16)
            f = AudioFrame.from_ndarray(np.repeat(pcm, 2).reshape(1, -1), format="s16", layout="stereo")
            f.sample_rate = 48000; f.pts = n
            import fractions; f.time_base = fractions.Fraction(1, 48000)
            for payload in enc.encode(f)[0]:
                p = RtpPacket(payload_type=self.tx_pt, marker=int(pk == 0), sequence_number=(seq + pk) & 0xffff,
                              timestamp=(t0 + pk * 960) & 0xffffffff, ssrc=self.my_ssrc, payload=payload)
                self.tx["n"] += 1; self.tx["oct"] += len(payload); self.tx["ts"] = p.timestamp; pk += 1
                try: await self.dtls._send_rtp(p.serialize())
                except ConnectionError: return
            n += 960
            await asyncio.sleep(max(0, start + n / 48000 - time.monotonic()))
    async def send_rtcp(self):
        while self.state == "confirmed":
            rep = []
            if self.rx["hi"] is not None:
                rep = [RtcpReceiverInfo(ssrc=self.rx_ssrc, fraction_lost=0, packets_lost=self.rx["lost"], highest_sequence=self.rx["hi"], jitter=0,
                       lsr=self.last_sr[0], dlsr=int((time.monotonic() - self.last_sr[1]) * 65536) & 0xffffffff if self.last_sr[0] else 0)]
            sr = RtcpSrPacket(ssrc=self.my_ssrc, sender_info=RtcpSenderInfo(ntp_timestamp=clock.current_ntp_time(), rtp_timestamp=self.tx["ts"],
                packet_count=self.tx["n"], octet_count=self.tx["oct"]), reports=rep)
            sdes = RtcpSdesPacket(chunks=[RtcpSourceInfo(ssrc=self.my_ssrc, items=[(1, b"reader")])])
            try: await self.dtls._send_rtp(bytes(sr) + bytes(sdes))
            except ConnectionError: return
            await asyncio.sleep(5)
    def rtcp(self, data):
        self.last_packet = time.monotonic()
        try:
            for p in RtcpPacket.parse(data):
                n = type(p).__name__
                if n == "RtcpSrPacket": self.last_sr = ((p.sender_info.ntp_timestamp >> 16) & 0xffffffff, time.monotonic())
                if n in ("RtcpSrPacket", "RtcpRrPacket"):
                    for r in p.reports: n += f"(of {'us' if r.ssrc == self.my_ssrc else r.ssrc}: lost {r.packets_lost} hi {r.highest_sequence} jitter {r.jitter})"
                self.rtcp_seen.append(n)
        except ValueError as e: log("!! rtcp", e)
    def rtp(self, data, at):
        self.last_packet = time.monotonic()
        p = RtpPacket.parse(data)
        self.rx["pts"].add(p.payload_type)
        if self.rx_ssrc is not None and p.ssrc != self.rx_ssrc: self.rx["other"] = p.ssrc; return
        if self.rx_pt.get(p.payload_type) != "opus": return
        self.rx["n"] += 1
        if self.rx["last"]:
            ds = (p.sequence_number - self.rx["last"][0]) & 0xffff
            if ds == 1:
                d = (p.timestamp - self.rx["last"][1]) & 0xffffffff
                self.rx["durs"][d] = self.rx["durs"].get(d, 0) + 1
            elif ds < 1000: self.rx["lost"] += ds - 1
        self.rx["last"] = (p.sequence_number, p.timestamp); self.rx["hi"] = p.sequence_number
        for f in self.dec.decode(JitterFrame(data=p.payload, timestamp=p.timestamp)):
            a = f.to_ndarray().reshape(-1).astype(np.float32) / 32768
            if f.layout.name == "stereo": a = a[::2]
            self.pcm = np.concatenate([self.pcm, a])[-48000:]
    async def meter(self):
        while self.state == "confirmed":
            await asyncio.sleep(1)
            quiet = time.monotonic() - self.last_packet
            if quiet > 10: return self.fail("no packet for 10 s")
            f = None
            if len(self.pcm) >= 24000:
                s = np.abs(np.fft.rfft(self.pcm[-24000:] * np.hanning(24000))); k = int(np.argmax(s)); f = k * 2
                rms = float(np.sqrt(np.mean(self.pcm[-24000:] ** 2)))
            log(f"HEAR {f} Hz" + (f" rms {rms:.3f}" if f else ""), f"rx {self.rx['n']} lost {self.rx['lost']} durations {self.rx['durs']} pt {self.rx['pts']} tx {self.tx['n']}",
                "rtcp", self.rtcp_seen[-2:], "" if self.hub.up.is_set() else "(hub away)")
    async def hangup(self):
        if self.state != "ended":
            fut = self.discard("hangup"); self.state = "ended"
            try: await asyncio.wait_for(fut, 5)
            except Exception as e: log("hangup", repr(e))
        for t in self.tasks: t.cancel()
        if self.started: await self.dtls.stop(); await self.ice.stop()
        log("signalling packets", self.sig and self.sig.stats)

async def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("url"); ap.add_argument("token"); ap.add_argument("callee")
    ap.add_argument("--versions", default="9.0.0"); ap.add_argument("--exchange", default="x25519")
    ap.add_argument("--seconds", type=float, default=12); ap.add_argument("--drop", type=float, default=0)
    ap.add_argument("--answer", action="store_true"); ap.add_argument("--tone", type=int, default=600)
    a = ap.parse_args()
    load_emojis(EMOJIS); vector()
    sctpmod.SCTP_RTO_INITIAL, sctpmod.SCTP_RTO_MIN, sctpmod.SCTP_RTO_MAX = 0.4, 0.4, 1.5
    call = None
    async def ev(f):
        await call.event(f)
    hub = Hub(a.url, a.token, ev)
    await hub.connect()
    call = Call(hub, a.callee, a.versions.split(","), a.exchange.split(","), not a.answer, a.tone)
    if not a.answer: await call.start()
    async def script():
        await call.media_up.wait()
        await asyncio.sleep(4)
        if a.drop:
            log("DROP the websocket for", a.drop, "s"); await hub.drop(a.drop)
            await hub.up.wait() if hub.up.is_set() is False else None
    t = asyncio.create_task(script())
    try: await asyncio.wait_for(call.ended.wait(), a.seconds)
    except asyncio.TimeoutError: pass
    await call.hangup()
    await asyncio.sleep(0.5)
    await hub.close()

asyncio.run(main())
