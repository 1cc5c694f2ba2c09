/* The smallest session transport that works, in C: RTP whose bytes are masked, so that they do not look like RTP.
 *
 * A mask is no encryption. Change the names, put your own work into receive and send, and try it: make, then
 * quartet plugin test ./libtemplate_transport_c.so. In a call: [[phone]] transport = "masked-c". This file is in the public domain (CC0). */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quartet_plugin.h"

#define MASK 0xa5

/* The machine of one leg of a call. No socket, no clock: it is fed and asked. */
struct masked {
  uint32_t path;           /* our socket's number, once the host has told it */
  struct quartet_addr far; /* the far side, as far as its description has named it */
  char lines[128];         /* what local has not returned yet */
  int has_path, tell_local, connected, tell_connected;
};

static int32_t create(const struct quartet_transport_config *config, void **out) {
  (void)config;
  struct masked *m = calloc(1, sizeof *m);
  if (!m) return QUARTET_E_RESOURCES;
  *out = m;
  return 0;
}

static void destroy(void *machine) { free(machine); }

static int32_t local(void *machine, uint64_t now_ns, char *out, uint32_t cap) {
  struct masked *m = machine;
  size_t len = strlen(m->lines);
  (void)now_ns;
  if (len > cap) return QUARTET_E_TOO_SMALL;
  memcpy(out, m->lines, len);
  m->lines[0] = 0;
  return (int32_t)len;
}

/* Reads an address as text; leaves *to alone if it is none. */
static void read_ip(const char *text, struct quartet_addr *to) {
  struct quartet_addr read = {.port = to->port};
  if (inet_pton(AF_INET, text, read.ip) == 1) read.family = 4;
  else if (inet_pton(AF_INET6, text, read.ip) == 1) read.family = 6;
  else return;
  *to = read;
}

static void take(struct masked *m, uint32_t about, const char *line) {
  unsigned path, component, port;
  char ip[64], word[8], other[8];
  if (about == QUARTET_TELL_PATHS && !m->has_path &&
      sscanf(line, "path:%u component %u host %63s %u", &path, &component, ip, &port) == 4 && component == 1) {
    /* One socket is enough: RTCP goes with RTP. */
    m->path = path;
    m->has_path = m->tell_local = 1;
    snprintf(m->lines, sizeof m->lines, "c:%s\nport:%u\nrtcp-mux\n", ip, port);
  } else if (about == QUARTET_TELL_REMOTE) {
    if (sscanf(line, "c:%7s %7s %63s", word, other, ip) == 3) read_ip(ip, &m->far); /* "c:IN IP4 192.0.2.1" */
    else if (sscanf(line, "c:%63s", ip) == 1) read_ip(ip, &m->far);
    else if (sscanf(line, "port:%u", &port) == 1 && port > 0 && port < 65536) m->far.port = (uint16_t)port;
  }
  /* Lines that are not known are skipped: later versions have more. */
}

static int32_t tell(void *machine, uint64_t now_ns, uint32_t about, const char *lines) {
  struct masked *m = machine;
  (void)now_ns;
  while (*lines) {
    char line[256];
    size_t len = strcspn(lines, "\n"), kept = len < sizeof line - 1 ? len : sizeof line - 1;
    memcpy(line, lines, kept);
    line[kept] = 0;
    take(m, about, line);
    lines += len + (lines[len] == '\n');
  }
  if (!m->connected && m->has_path && m->far.family && m->far.port) m->connected = m->tell_connected = 1;
  return 0;
}

static void mask(struct quartet_packet *packet) {
  for (uint32_t i = 0; i < packet->len; i++) packet->data[i] ^= MASK;
}

static int32_t receive(void *machine, uint64_t now_ns, struct quartet_packet *packet) {
  struct masked *m = machine;
  (void)now_ns;
  /* Whoever else sends is a stranger. */
  if (!m->connected || packet->src.family != m->far.family || packet->src.port != m->far.port ||
      memcmp(packet->src.ip, m->far.ip, sizeof m->far.ip))
    return QUARTET_NONE;
  mask(packet);
  if (packet->len < 8 || packet->data[0] >> 6 != 2) return QUARTET_E_MALFORMED;
  unsigned type = packet->data[1] & 0x7f;
  if (type >= 64 && type <= 95) return QUARTET_RTCP; /* RFC 5761, section 4 */
  return packet->len < 12 ? QUARTET_E_MALFORMED : QUARTET_RTP;
}

static int32_t send_packet(void *machine, uint64_t now_ns, struct quartet_packet *packet) {
  struct masked *m = machine;
  (void)now_ns;
  if (packet->kind != QUARTET_RTP && packet->kind != QUARTET_RTCP) return QUARTET_E_UNSUPPORTED;
  if (!m->connected) return QUARTET_E_STATE;
  mask(packet);
  packet->path = m->path;
  packet->dst = m->far;
  return QUARTET_TRANSMIT;
}

static int32_t timeout(void *machine, uint64_t now_ns) {
  (void)machine, (void)now_ns;
  return 0;
}

static int32_t poll(void *machine, struct quartet_output *output) {
  struct masked *m = machine;
  int *events[] = {&m->tell_local, &m->tell_connected};
  const uint32_t words[] = {QUARTET_EVENT_LOCAL, QUARTET_EVENT_CONNECTED};
  for (int i = 0; i < 2; i++) {
    if (!*events[i]) continue;
    *events[i] = 0;
    output->event = words[i];
    return QUARTET_EVENT;
  }
  output->deadline_ns = QUARTET_NO_DEADLINE;
  return QUARTET_NONE;
}

static const struct quartet_transport masked = {
    .size = sizeof(struct quartet_transport),
    .name = "masked-c",
    .create = create,
    .destroy = destroy,
    .local = local,
    .tell = tell,
    .receive = receive,
    .send = send_packet,
    .timeout = timeout,
    .poll = poll,
};

static const void *const tables[] = {&masked};

/* The one symbol that is exported: quartet_plugin_ and the id, with _ for -. */
extern const struct quartet_plugin quartet_plugin_template_transport_c;
QUARTET_EXPORT const struct quartet_plugin quartet_plugin_template_transport_c = {
    .magic = QUARTET_MAGIC,
    .abi_major = QUARTET_ABI_MAJOR,
    .abi_minor = QUARTET_ABI_MINOR,
    .size = sizeof(struct quartet_plugin),
    .kind = QUARTET_KIND_SESSION,
    .id = "template-transport-c",
    .version = "1.0",
    .licence = "CC0-1.0",
    .summary = "RTP behind a mask: the template of a session transport in C",
    .tables = tables,
    .table_count = 1,
};
