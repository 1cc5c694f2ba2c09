/* The smallest path: one byte, 'W', before each datagram; what comes without it is not ours. */
#include <stdlib.h>
#include "quartet_plugin.h"

static int32_t create(const struct quartet_transport_config *config, void **out) {
  (void)config;
  *out = malloc(1);
  return *out ? 0 : QUARTET_E_RESOURCES;
}

static int32_t local(void *machine, uint64_t now_ns, char *out, uint32_t cap) { return 0; }

static int32_t tell(void *machine, uint64_t now_ns, uint32_t about, const char *lines) { return 0; }

static int32_t receive(void *machine, uint64_t now_ns, struct quartet_packet *packet) {
  if (packet->len < 1 || packet->data[0] != 'W') return QUARTET_E_MALFORMED;
  packet->data++;
  packet->len--;
  packet->headroom++;
  return QUARTET_DATAGRAM;
}

static int32_t send(void *machine, uint64_t now_ns, struct quartet_packet *packet) {
  if (packet->headroom < 1) return QUARTET_E_TOO_SMALL;
  packet->data--;
  packet->len++;
  packet->headroom--;
  packet->data[0] = 'W';
  return QUARTET_TRANSMIT;
}

static int32_t timeout(void *machine, uint64_t now_ns) { return 0; }

static int32_t poll(void *machine, struct quartet_output *output) {
  output->deadline_ns = QUARTET_NO_DEADLINE;
  return QUARTET_NONE;
}

static const struct quartet_transport wrap = {
    .size = sizeof(struct quartet_transport), .name = "wrap", .headroom = 1, .create = create, .destroy = free,
    .local = local, .tell = tell, .receive = receive, .send = send, .timeout = timeout, .poll = poll,
};
static const void *const tables[] = {&wrap};

QUARTET_EXPORT const struct quartet_plugin quartet_plugin_path_wrap = {
    .magic = QUARTET_MAGIC, .abi_major = QUARTET_ABI_MAJOR, .abi_minor = QUARTET_ABI_MINOR,
    .size = sizeof(struct quartet_plugin), .kind = QUARTET_KIND_PATH, .id = "path-wrap", .version = "1",
    .licence = "MIT", .summary = "one byte before each datagram", .tables = tables, .table_count = 1,
};
