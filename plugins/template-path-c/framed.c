/* The smallest path that works, in C: a relay that any session can stand on, with a protocol that fits on this page.
 *
 * To the server: 1, every 10 s, and every second until it has answered. From the server: 2 and our address there. Both ways: 3, the
 * peer's address, and a datagram. An address is its family (4 or 6), its port and 16 bytes. Change the names and the protocol, and
 * try it: make, then quartet plugin test ./libtemplate_path_c.so. In a call: [[route]] transport = "webrtc over framed-c", and
 * [plugins.options.template-path-c] relay = "HOST:PORT". This file is in the public domain (CC0). */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quartet_plugin.h"

#define HELLO 1
#define YOU_ARE 2
#define DATA 3
#define ADDRESS 19 /* family, port, 16 bytes of which IPv4 uses four */
#define HEADER (1 + ADDRESS)
#define SECOND 1000000000ull
#define GIVE_UP (10 * SECOND) /* a server that has not answered by then has no place for us */

/* The machine of one leg at one server. No socket, no clock: it is fed and asked. */
struct framed {
  struct quartet_addr server;
  uint32_t below;                    /* what is below, once the host has told it */
  uint64_t hello_at, answer_by, now; /* when a hello is due, and by when the server must have answered */
  int has_below, answered, over, tell_address;
  const char *tell_failed;
  char text[80];
};

static const uint8_t hello[1] = {HELLO};

static void write_address(uint8_t *to, const struct quartet_addr *from) {
  to[0] = (uint8_t)from->family;
  to[1] = (uint8_t)(from->port >> 8);
  to[2] = (uint8_t)from->port;
  memcpy(to + 3, from->ip, 16);
}

/* Reads an address; 0 if it is none. */
static int read_address(struct quartet_addr *to, const uint8_t *from, uint32_t len) {
  if (len < ADDRESS || (from[0] != 4 && from[0] != 6)) return 0;
  memset(to, 0, sizeof *to);
  to->family = from[0];
  to->port = (uint16_t)(from[1] << 8 | from[2]);
  memcpy(to->ip, from + 3, from[0] == 4 ? 4 : 16);
  return to->port != 0;
}

/* The value of an option, up to the end of its line. */
static const char *option(const char *lines, const char *name) {
  size_t len = strlen(name);
  for (const char *line = lines; line && *line;) {
    if (!strncmp(line, name, len) && line[len] == ':') return line + len + 1;
    line = strchr(line, '\n');
    if (line) line++;
  }
  return NULL;
}

static int32_t create(const struct quartet_transport_config *config, void **out) {
  const char *server = option(config->options, "server");
  char ip[64];
  unsigned port;
  struct framed *f = calloc(1, sizeof *f);
  if (!f) return QUARTET_E_RESOURCES;
  if (server && sscanf(server, "%63s %u", ip, &port) == 2 && port > 0 && port < 65536) {
    f->server.port = (uint16_t)port;
    if (inet_pton(AF_INET, ip, f->server.ip) == 1) f->server.family = 4;
    else if (inet_pton(AF_INET6, ip, f->server.ip) == 1) f->server.family = 6;
  }
  if (!f->server.family) {
    free(f);
    return QUARTET_E_ARGUMENT;
  }
  f->hello_at = f->answer_by = QUARTET_NO_DEADLINE;
  f->now = config->now_ns;
  *out = f;
  return 0;
}

static void destroy(void *machine) { free(machine); }

/* A path has nothing to say to the far side; its session has. */
static int32_t local(void *machine, uint64_t now_ns, char *out, uint32_t cap) {
  (void)machine, (void)now_ns, (void)out, (void)cap;
  return 0;
}

static void fail(struct framed *f, const char *why) {
  if (f->over) return;
  f->over = 1;
  f->tell_failed = why;
}

static int32_t tell(void *machine, uint64_t now_ns, uint32_t about, const char *lines) {
  struct framed *f = machine;
  f->now = now_ns;
  while (*lines && about == QUARTET_TELL_PATHS) {
    unsigned path;
    char word[16];
    size_t len = strcspn(lines, "\n");
    if (sscanf(lines, "path:%u %15s", &path, word) == 2) {
      if (!strcmp(word, "component") && !f->has_below) {
        f->below = path;
        f->has_below = 1;
        f->hello_at = now_ns;
        f->answer_by = now_ns + GIVE_UP;
      } else if (!strcmp(word, "gone") && f->has_below && path == f->below) {
        fail(f, "closed");
      }
    }
    /* Lines that are not known are skipped: later versions have more. */
    lines += len + (lines[len] == '\n');
  }
  return 0;
}

static int32_t receive(void *machine, uint64_t now_ns, struct quartet_packet *packet) {
  struct framed *f = machine;
  struct quartet_addr address;
  f->now = now_ns;
  if (!packet->len) return QUARTET_E_MALFORMED;
  if (packet->data[0] == YOU_ARE && !f->over) {
    char ip[64];
    if (!read_address(&address, packet->data + 1, packet->len - 1)) return QUARTET_E_MALFORMED;
    f->answer_by = now_ns + 3 * GIVE_UP;
    if (!f->answered && inet_ntop(address.family == 4 ? AF_INET : AF_INET6, address.ip, ip, sizeof ip)) {
      f->hello_at = now_ns + 10 * SECOND;
      snprintf(f->text, sizeof f->text, "relay %s %u", ip, address.port);
      f->answered = f->tell_address = 1;
    }
    return QUARTET_NONE;
  }
  if (packet->data[0] != DATA || !f->answered) return QUARTET_NONE;
  if (!read_address(&address, packet->data + 1, packet->len - 1)) return QUARTET_E_MALFORMED;
  packet->data += HEADER;
  packet->len -= HEADER;
  packet->headroom += HEADER;
  packet->src = address;
  return QUARTET_DATAGRAM;
}

static int32_t send_packet(void *machine, uint64_t now_ns, struct quartet_packet *packet) {
  struct framed *f = machine;
  (void)now_ns;
  if (!packet->dst.family) return QUARTET_E_ARGUMENT;
  if (!f->answered || f->over) return QUARTET_E_STATE;
  if (packet->headroom < HEADER) return QUARTET_E_TOO_SMALL;
  packet->data -= HEADER;
  packet->len += HEADER;
  packet->headroom -= HEADER;
  packet->data[0] = DATA;
  write_address(packet->data + 1, &packet->dst);
  packet->path = f->below;
  packet->dst = f->server;
  return QUARTET_TRANSMIT;
}

static int32_t timeout(void *machine, uint64_t now_ns) {
  struct framed *f = machine;
  f->now = now_ns;
  if (now_ns >= f->answer_by) fail(f, "timeout");
  return 0;
}

static int32_t poll(void *machine, struct quartet_output *output) {
  struct framed *f = machine;
  if (f->tell_failed || (f->tell_address && !f->over)) {
    output->event = f->tell_failed ? QUARTET_EVENT_FAILED : QUARTET_EVENT_ADDRESS;
    output->text = f->tell_failed ? f->tell_failed : f->text;
    output->text_len = (uint32_t)strlen(output->text);
    if (!f->tell_failed) f->tell_address = 0;
    f->tell_failed = NULL;
    return QUARTET_EVENT;
  }
  output->deadline_ns = QUARTET_NO_DEADLINE;
  if (!f->has_below || f->over) return QUARTET_NONE;
  if (f->now >= f->hello_at) {
    f->hello_at = f->now + (f->answered ? 10 * SECOND : SECOND);
    output->packet.data = (uint8_t *)hello; /* the host only reads it */
    output->packet.len = sizeof hello;
    output->packet.path = f->below;
    output->packet.dst = f->server;
    return QUARTET_TRANSMIT;
  }
  output->deadline_ns = f->hello_at < f->answer_by ? f->hello_at : f->answer_by;
  return QUARTET_NONE;
}

static const struct quartet_transport framed = {
    .size = sizeof(struct quartet_transport),
    .name = "framed-c",
    .headroom = HEADER,
    .create = create,
    .destroy = destroy,
    .local = local,
    .tell = tell,
    .receive = receive,
    .send = send_packet,
    .timeout = timeout,
    .poll = poll,
};

static const void *const tables[] = {&framed};

static const struct quartet_option options[] = {
    {"relay", "text", "", "HOST:PORT of the server"},
};

/* The one symbol that is exported: quartet_plugin_ and the id, with _ for -. */
extern const struct quartet_plugin quartet_plugin_template_path_c;
QUARTET_EXPORT const struct quartet_plugin quartet_plugin_template_path_c = {
    .magic = QUARTET_MAGIC,
    .abi_major = QUARTET_ABI_MAJOR,
    .abi_minor = QUARTET_ABI_MINOR,
    .size = sizeof(struct quartet_plugin),
    .kind = QUARTET_KIND_PATH,
    .id = "template-path-c",
    .version = "1.0",
    .licence = "CC0-1.0",
    .summary = "a relay under any session: the template of a path in C",
    .tables = tables,
    .table_count = 1,
    .options = options,
    .option_count = 1,
};
