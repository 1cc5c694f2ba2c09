/*
 * quartet_plugin.h: the contract between the Quartet gateway and its plugins, ABI 1.0.
 *
 * Copyright (c) 2026 the Quartet authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
 * documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
 * rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
 * persons to whom the Software is furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
 * Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
 * WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
 * COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
 * OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 *
 * A plugin is a shared library that exports exactly one symbol, a constant:
 *
 *     const struct quartet_plugin quartet_plugin_codec_l16 = { QUARTET_MAGIC, ... };
 *
 * named quartet_plugin_ and the id with _ for -. The gateway reads its first 16 bytes from the file, before any code of
 * the plugin runs. Build: cc -O2 -shared -fPIC -fvisibility=hidden -Wl,-z,defs; mark the constant QUARTET_EXPORT.
 *
 * THREADS, written on every function:
 *   [load]  one thread, once, while the gateway starts.
 *   [call]  one thread at a time for a handle, but not always the same thread; other handles at the same time on others.
 *   [any]   any thread, at any time.
 * So: no thread-local state, no unguarded globals. No function may block, sleep, open a socket or start a thread. A call
 * may use 128 KiB of stack. A plugin is never unloaded.
 *
 * MEMORY: who allocates frees. Handles are opaque; allocate in *_new and create, never in encode, decode, receive, send
 * or poll. Every pointer passed in is valid for that call only: keep none. Text in ends with 0 and is UTF-8 (be ready for
 * anything). Text out is (pointer, capacity), without a 0 at the end: return its length, or QUARTET_E_TOO_SMALL, and the
 * host comes again with up to 64 KiB.
 *
 * RESULTS: 0 or a count is fine; a negative number is one of QUARTET_E_*, any other counts as QUARTET_E_INTERNAL. After
 * that one the host calls nothing but free or destroy on the handle, ends that call's leg, and after ten in a minute
 * makes no new handles. Never let an exception (C++) or a panic (Rust) leave a function: the process would end.
 *
 * GROWTH: fields are only appended; `size` tells what the other side has. Structs marked frozen never change; their
 * reserved words are 0. Everything is for 64-bit machines.
 */
#ifndef QUARTET_PLUGIN_H
#define QUARTET_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define QUARTET_ASSERT(condition, text) static_assert(condition, text)
#else
#define QUARTET_ASSERT(condition, text) _Static_assert(condition, text)
#endif

/* Makes the descriptor visible in a library that is built with -fvisibility=hidden. */
#define QUARTET_EXPORT __attribute__((visibility("default")))

#define QUARTET_MAGIC 0x474c5051u /* "QPLG" */
#define QUARTET_ABI_MAJOR 1
#define QUARTET_ABI_MINOR 0

/* Kinds of plugins. */
#define QUARTET_KIND_CODEC 1
#define QUARTET_KIND_SESSION 2
#define QUARTET_KIND_PATH 3

/* Results. */
#define QUARTET_E_ARGUMENT (-1)    /* outside the contract: the host's fault */
#define QUARTET_E_UNSUPPORTED (-2) /* not offered here: the host does without */
#define QUARTET_E_NO_MATCH (-3)    /* nothing in common with the far side */
#define QUARTET_E_MALFORMED (-4)   /* broken bytes or words: the peer's fault */
#define QUARTET_E_TOO_SMALL (-5)   /* the buffer is too small */
#define QUARTET_E_STATE (-6)       /* the wrong time for this call */
#define QUARTET_E_RESOURCES (-7)   /* out of memory, or over a bound of the plugin's own */
#define QUARTET_E_INTERNAL (-8)    /* a bug of the plugin */

/* Levels of host->log. */
#define QUARTET_LOG_ERROR 1
#define QUARTET_LOG_WARN 2
#define QUARTET_LOG_INFO 3
#define QUARTET_LOG_DEBUG 4
#define QUARTET_LOG_TRACE 5

/* What the host gives a plugin. Grows. Lives until the process ends: keep the pointer. */
struct quartet_host {
  uint16_t abi_major, abi_minor; /* the host's */
  uint32_t size;                 /* sizeof, as the host was built */
  void *ctx;                     /* first argument of both functions */
  /* [any] Writes a line to the gateway's log; never blocks; long lines are cut. Never a key, a password, a description. */
  void (*log)(void *ctx, uint32_t level, const char *text, size_t len);
  /* [any] Fills `out` with random numbers fit for keys; never fails. */
  void (*random)(void *ctx, uint8_t *out, size_t len);
};

/* A setting that the plugin offers. Frozen. The operator writes it in [plugins.options.<id>]; the gateway refuses unknown
 * names and values of the wrong type, and hands the plugin `name:value` lines, default values included. */
struct quartet_option {
  const char *name;   /* as in the lines */
  const char *type;   /* "int", "bool" (true, false) or "text" */
  const char *default_value; /* the value if nothing is set; "" for none */
  const char *help;   /* one line for the manual */
};

/* The descriptor: exported, constant, never moves. Grows at the end. */
struct quartet_plugin {
  uint32_t magic;                /* QUARTET_MAGIC */
  uint16_t abi_major, abi_minor; /* QUARTET_ABI_*: what it is built with */
  uint32_t size;                 /* sizeof(struct quartet_plugin) */
  uint16_t needs_minor;          /* the oldest minor of a host that it works with, usually 0 */
  uint16_t kind;                 /* QUARTET_KIND_* */
  const char *id;                /* [a-z0-9-]{1,63}, for instance "codec-l16" */
  const char *version, *licence, *summary;
  const void *const *tables;     /* pointers to struct quartet_codec or quartet_transport, by kind */
  uint64_t table_count;
  const struct quartet_option *options; /* an array: its rows are frozen */
  uint64_t option_count;
  /* [load] Called once, before all else; may be null. Negative: the plugin is not used. May allocate. */
  int32_t (*init)(const struct quartet_host *host);
};

/* ---------------------------------------------------------------------------------------------------------- codecs */

#define QUARTET_PAYLOAD_DYNAMIC 255u

/* `role` of fmtp. */
#define QUARTET_FMTP_OFFER 1u  /* remote is null: write what we offer */
#define QUARTET_FMTP_ANSWER 2u /* remote is their offer: write our answer, or QUARTET_E_NO_MATCH */
#define QUARTET_FMTP_ACCEPT 3u /* remote is their answer to our offer: 0, or QUARTET_E_NO_MATCH */

/* `mode` of decode. */
#define QUARTET_DECODE_PACKET 0u /* data is the packet that is due */
#define QUARTET_DECODE_LOST 1u   /* no data: write exactly `count` values of concealment, or QUARTET_E_UNSUPPORTED */
#define QUARTET_DECODE_FEC 2u    /* data is the next packet: write exactly `count` values of the one before it, or -2 */

/* `key` of encoder_set and decoder_set. Unknown: QUARTET_E_UNSUPPORTED. Value out of range: QUARTET_E_ARGUMENT. */
#define QUARTET_SET_BITRATE 1u       /* bit/s */
#define QUARTET_SET_COMPLEXITY 2u    /* 0 to 10; decoder: deep concealment on from 5 */
#define QUARTET_SET_FEC 3u           /* 0, 1 */
#define QUARTET_SET_LOSS_PERMILLE 4u /* expected loss, 0 to 1000 */
#define QUARTET_SET_DTX 5u           /* 0, 1 */

/* What a codec handle is made for. Grows. */
struct quartet_codec_config {
  uint32_t size;            /* as the host was built */
  uint32_t sample_rate;     /* one of sample_rates; the handle keeps it */
  uint32_t channels;        /* interleaved in the PCM; others than yours: QUARTET_E_UNSUPPORTED */
  uint32_t frame_us;        /* the packet duration to begin with */
  const char *local_fmtp;   /* what we said we want to receive: the decoder obeys it */
  const char *remote_fmtp;  /* what they want to receive: the encoder obeys it */
  const char *options;      /* name:value lines */
};

/* One packet and its PCM, made by another implementation: the host plays it to a fresh decoder at load. Frozen. */
struct quartet_sample {
  const uint8_t *packet;
  const int16_t *pcm;
  uint32_t packet_len, pcm_count;
  uint32_t sample_rate, channels;
  uint32_t tolerance; /* the largest allowed difference of a value; 0 for exact codecs */
  uint32_t reserved0;
  uint64_t reserved[2];
};

/* One SDP name. Grows. The plugin knows PCM only: RTP clock, timestamps, jitter and resampling are the host's. `count` is
 * always int16 values in the buffer, all channels together. Required: both new, both free, encode, decode. */
struct quartet_codec {
  uint32_t size, flags;           /* sizeof(struct quartet_codec); 0 */
  const char *sdp_name;           /* of a=rtpmap */
  uint32_t payload_type;          /* 0..127 of RFC 3551, or QUARTET_PAYLOAD_DYNAMIC */
  uint32_t rtp_clock;             /* Hz; need not be a sample rate */
  uint32_t sdp_channels;          /* as SDP says it */
  uint32_t max_packet;            /* the largest packet encode writes, at most 1400; the host offers this capacity */
  const uint32_t *sample_rates;   /* Hz, best first, ends with 0 */
  const uint32_t *frame_us;       /* packet durations that encode can make, best first, ends with 0 */

  /* [any] Pure. Writes our a=fmtp value, or judges theirs; see QUARTET_FMTP_*. Words that the RFC says to ignore are no
   * error, nor is nonsense. May allocate. */
  int32_t (*fmtp)(uint32_t role, const char *options, const char *remote, char *out, uint32_t cap);

  /* [call] Makes an encoder into *out; on an error *out is untouched. Allocates. */
  int32_t (*encoder_new)(const struct quartet_codec_config *config, void **out);
  /* [call] Encodes one packet of a listed duration (else QUARTET_E_ARGUMENT) and returns its length; 0 means "send
   * nothing" (DTX). The host may change the duration between calls. Must not allocate or lock. */
  int32_t (*encode)(void *encoder, const int16_t *pcm, uint32_t count, uint8_t *out, uint32_t cap);
  /* [call] Changes a setting, QUARTET_SET_*. Must not allocate. */
  int32_t (*encoder_set)(void *encoder, uint32_t key, int64_t value);
  /* [call] Frees the encoder; null is fine. */
  void (*encoder_free)(void *encoder);

  /* [call] Makes a decoder into *out; on an error *out is untouched. Allocates. */
  int32_t (*decoder_new)(const struct quartet_codec_config *config, void **out);
  /* [call] Decodes, see QUARTET_DECODE_*; returns how many values it wrote. In mode PACKET `count` is room, any duration
   * may come, an empty packet is QUARTET_E_MALFORMED. Must not allocate or lock. */
  int32_t (*decode)(void *decoder, uint32_t mode, const uint8_t *data, uint32_t len, int16_t *pcm, uint32_t count);
  /* [call] Changes a setting; QUARTET_SET_COMPLEXITY only. Must not allocate. */
  int32_t (*decoder_set)(void *decoder, uint32_t key, int64_t value);
  /* [call] Frees the decoder; null is fine. */
  void (*decoder_free)(void *decoder);

  /* [any] Pure. How many samples per channel the packet has at this rate, without decoding it. Null: the host reckons one
   * byte a tick of rtp_clock. */
  int32_t (*packet_samples)(const uint8_t *data, uint32_t len, uint32_t rate);
  const struct quartet_sample *sample; /* may be null */
};

/* ------------------------------------------------------------------------------------------------------ transports */

/* An IP address and port. Frozen. All 0: nobody said. */
struct quartet_addr {
  uint8_t ip[16];  /* IPv4 in the first four */
  uint32_t scope;  /* IPv6 scope id */
  uint16_t port;   /* host byte order */
  uint8_t family;  /* 4, 6 */
  uint8_t reserved;
};

/* A packet inside a larger buffer: headroom free bytes before data, tailroom behind data + len. Frozen. */
struct quartet_packet {
  uint8_t *data;
  uint32_t len, headroom, tailroom;
  uint32_t path;               /* by which path it came or goes; for DATA: channel number, plus QUARTET_DATA_TEXT */
  struct quartet_addr src, dst;
  uint32_t kind;               /* send: QUARTET_RTP, RTCP, DATA, DATAGRAM */
  uint32_t ecn;                /* the two ECN bits */
};

/* In `path` of a DATA message: it is text, not bytes. */
#define QUARTET_DATA_TEXT 0x80000000u

/* What a packet has become (receive, send), or what poll has made. */
#define QUARTET_NONE 0      /* kept or dropped; poll: nothing more */
#define QUARTET_TRANSMIT 1  /* a datagram to send, path and dst set */
#define QUARTET_RTP 2
#define QUARTET_RTCP 3
#define QUARTET_DATA 4
#define QUARTET_DATAGRAM 5  /* for the layer above (paths), src: the peer that sent it */
#define QUARTET_EVENT 6     /* poll only */

#define QUARTET_EVENT_CONNECTED 1u /* media can flow both ways */
#define QUARTET_EVENT_FAILED 2u    /* over; text: one cause word: ice, dtls, fingerprint, timeout, closed; of a path:
                                      credentials, refused, timeout, closed */
#define QUARTET_EVENT_LOCAL 3u     /* ask `local` again: there are new lines */
#define QUARTET_EVENT_ADDRESS 4u   /* an address of a path; text: "relay IP PORT", by which the peer reaches us over it, or
                                      "outer IP PORT", as which the server sees the socket below */
#define QUARTET_EVENT_STATS 5u     /* text: name:value lines, at most once a second */

#define QUARTET_NO_DEADLINE UINT64_MAX

/* What poll fills. Frozen. Bytes and text are the plugin's own and stay until the next call on the handle. */
struct quartet_output {
  struct quartet_packet packet;
  uint64_t deadline_ns;         /* with NONE: call timeout then; QUARTET_NO_DEADLINE for never */
  const char *text;
  uint32_t text_len, event;     /* QUARTET_EVENT_* */
  uint64_t reserved[4];
};

#define QUARTET_ROLE_OFFER 1u  /* we offer: ICE controlling */
#define QUARTET_ROLE_ANSWER 2u

/* What create is told. Grows. */
struct quartet_transport_config {
  uint32_t size, role;   /* as the host was built; QUARTET_ROLE_* */
  uint64_t now_ns;       /* on the scale of every later call */
  const char *options;   /* name:value lines */
  uint64_t reserved[4];
};

#define QUARTET_TELL_REMOTE 1u  /* lines of the far side: ice-ufrag: fingerprint: candidate: crypto: ssrc: c: port: ... */
#define QUARTET_TELL_PATHS 2u   /* "path:3 component 1 host 192.0.2.7 40000 mtu 1200", "path:3 gone"; behind the mtu there may be
                                   "outer 203.0.113.5 40000", as those outside see it (also in a second line for the same
                                   path), "via tcp" where a stream leads to a relay, and words of later versions */
#define QUARTET_TELL_CONTROL 3u /* "ice-restart", "close" */

/* Flag of a path whose lower side is a stream of bytes in arbitrary cuts: the host dials the server and does TLS, the path
 * frames. `receive` gets a piece of the stream and returns NONE; poll has the datagrams in it. A TRANSMIT of such a path is
 * whole messages: the host writes all of it or, if the connection is full, nothing. */
#define QUARTET_FLAG_STREAM 1u

/* One way to carry media. Grows. Two kinds share the table: a session has RTP, RTCP and DATA above and datagrams below, a
 * path has datagrams on both sides. A path is made for one server: `create` has the lines "server:IP PORT", "name:HOST",
 * "via:udp", "tcp" or "tls", "username:", "password:" behind the operator's. It is told its lower side once,
 * "path:1 component 1 host IP PORT mtu 1200", and "path:1 gone" when a stream has ended; it says by ADDRESS what it has
 * allocated, and passes what `send` is given on to the peer in `dst`. A relay asks its server for leave to do that when the
 * first datagram for a peer comes. `local` and tell(REMOTE) are for sessions alone. No sockets, no clock: `now_ns` comes with every call and never goes back. After each
 * call the host polls until NONE. All functions are required. */
struct quartet_transport {
  uint32_t size, flags;        /* sizeof(struct quartet_transport); QUARTET_FLAG_* */
  const char *name;            /* as routes and settings say it: "rtp", "webrtc" */
  uint32_t headroom, tailroom; /* the most that send adds before and behind, at most 512 each */

  /* [call] Makes the machine of one leg into *out; on an error *out is untouched. Allocates. */
  int32_t (*create)(const struct quartet_transport_config *config, void **out);
  /* [call] Frees it, in any state; null is fine. */
  void (*destroy)(void *machine);
  /* [call] Writes those lines of our description that were not read before: SDP attributes without "a=", one a line;
   * private words begin with "x-". They hold keys: neither side logs them. May allocate. */
  int32_t (*local)(void *machine, uint64_t now_ns, char *out, uint32_t cap);
  /* [call] Takes lines, QUARTET_TELL_*. REMOTE adds up; a new ice-ufrag: begins a new generation; ssrc: names the streams
   * to accept. Unknown lines are skipped. May allocate. */
  int32_t (*tell)(void *machine, uint64_t now_ns, uint32_t about, const char *lines);
  /* [call] Takes a datagram from below and returns what it has become, changed in place inside its buffer.
   * QUARTET_E_MALFORMED: dropped and counted. Must not allocate or lock. */
  int32_t (*receive)(void *machine, uint64_t now_ns, struct quartet_packet *packet);
  /* [call] Takes a packet from above; TRANSMIT: now a datagram in place, path and dst set. QUARTET_E_TOO_SMALL without the
   * promised room. Must not allocate or lock. */
  int32_t (*send)(void *machine, uint64_t now_ns, struct quartet_packet *packet);
  /* [call] The deadline has passed; early and late are harmless. */
  int32_t (*timeout)(void *machine, uint64_t now_ns);
  /* [call] Returns the next thing that the machine made by itself; never stands for a packet that came in. */
  int32_t (*poll)(void *machine, struct quartet_output *output);
};

/* ----------------------------------------------------------------------------------------------------------- helpers */

/* Finds a key in an a=fmtp value, letter case ignored; returns where its value begins and its length, or null. */
static inline const char *quartet_fmtp_value(const char *fmtp, const char *key, size_t *len) {
  for (const char *p = fmtp; p && *p; p = *p ? p + 1 : p) {
    size_t n = 0;
    while (*p == ' ') p++;
    while (key[n] && (p[n] | 0x20) == (key[n] | 0x20)) n++;
    const char *value = p + n, *end = p;
    while (*end && *end != ';') end++;
    while (*value == ' ') value++;
    if (!key[n] && (*value == '=' || value == end)) {
      if (*value == '=') value++;
      while (end > value && end[-1] == ' ') end--;
      return *len = (size_t)(end - value), value;
    }
    p = end;
  }
  return NULL;
}

/* ------------------------------------------------------------------------------------------------------------ layout */

QUARTET_ASSERT(sizeof(void *) == 8, "the contract is for 64-bit machines");
QUARTET_ASSERT(sizeof(struct quartet_host) == 32 && offsetof(struct quartet_host, random) == 24, "host");
QUARTET_ASSERT(sizeof(struct quartet_option) == 32, "option");
QUARTET_ASSERT(sizeof(struct quartet_plugin) == 88 && offsetof(struct quartet_plugin, size) == 8 &&
                   offsetof(struct quartet_plugin, kind) == 14 && offsetof(struct quartet_plugin, id) == 16 &&
                   offsetof(struct quartet_plugin, tables) == 48 && offsetof(struct quartet_plugin, init) == 80, "plugin");
QUARTET_ASSERT(sizeof(struct quartet_codec_config) == 40 && offsetof(struct quartet_codec_config, local_fmtp) == 16, "config");
QUARTET_ASSERT(sizeof(struct quartet_sample) == 56 && offsetof(struct quartet_sample, packet_len) == 16, "sample");
QUARTET_ASSERT(sizeof(struct quartet_codec) == 136 && offsetof(struct quartet_codec, fmtp) == 48 &&
                   offsetof(struct quartet_codec, sample) == 128, "codec");
QUARTET_ASSERT(sizeof(struct quartet_addr) == 24 && offsetof(struct quartet_addr, family) == 22, "addr");
QUARTET_ASSERT(sizeof(struct quartet_packet) == 80 && offsetof(struct quartet_packet, src) == 24 &&
                   offsetof(struct quartet_packet, kind) == 72, "packet");
QUARTET_ASSERT(sizeof(struct quartet_output) == 136 && offsetof(struct quartet_output, deadline_ns) == 80 &&
                   offsetof(struct quartet_output, event) == 100, "output");
QUARTET_ASSERT(sizeof(struct quartet_transport_config) == 56 && offsetof(struct quartet_transport_config, options) == 16,
               "transport config");
QUARTET_ASSERT(sizeof(struct quartet_transport) == 88 && offsetof(struct quartet_transport, create) == 24 &&
                   offsetof(struct quartet_transport, poll) == 80, "transport");

#ifdef __cplusplus
}
#endif

#endif
