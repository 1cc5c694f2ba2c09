/*
 * The smallest codec plugin that works, in C: L16, 16,000 samples a second, mono. Copy this folder and begin.
 * A packet is the samples themselves, in network byte order (RFC 3551 §4.5.11), so there is nothing to keep between
 * packets and nothing to negotiate. Public domain: do with this file what you like.
 */
#include "quartet_plugin.h"

#define RATE 16000u
#define MAX_SAMPLES 640u /* 40 ms: 1280 bytes, under the 1400 that a packet may have */

static char the_handle; /* an encoder or decoder without memory may be one and the same thing for all calls */

static int32_t new_handle(const struct quartet_codec_config *config, void **out) {
  if (config->sample_rate != RATE || config->channels != 1) return QUARTET_E_UNSUPPORTED;
  *out = &the_handle;
  return 0;
}

static void free_handle(void *handle) { (void)handle; }

static int32_t encode(void *handle, const int16_t *pcm, uint32_t count, uint8_t *out, uint32_t cap) {
  (void)handle;
  if (count != 160 && count != 320 && count != 640) return QUARTET_E_ARGUMENT; /* the durations listed below */
  if (cap < 2 * count) return QUARTET_E_TOO_SMALL;
  for (uint32_t i = 0; i < count; i++) {
    out[2 * i] = (uint8_t)((uint16_t)pcm[i] >> 8);
    out[2 * i + 1] = (uint8_t)pcm[i];
  }
  return (int32_t)(2 * count);
}

static int32_t decode(void *handle, uint32_t mode, const uint8_t *data, uint32_t len, int16_t *pcm, uint32_t count) {
  (void)handle;
  if (mode != QUARTET_DECODE_PACKET) return QUARTET_E_UNSUPPORTED; /* a lost packet: the gateway conceals it */
  if (len == 0 || len % 2 != 0) return QUARTET_E_MALFORMED;
  if (len / 2 > count) return QUARTET_E_TOO_SMALL;
  for (uint32_t i = 0; i < len / 2; i++) pcm[i] = (int16_t)(uint16_t)(data[2 * i] << 8 | data[2 * i + 1]);
  return (int32_t)(len / 2);
}

static int32_t packet_samples(const uint8_t *data, uint32_t len, uint32_t rate) {
  (void)data;
  return rate == RATE ? (int32_t)(len / 2) : QUARTET_E_UNSUPPORTED;
}

static const uint32_t rates[] = {RATE, 0};
static const uint32_t durations[] = {20000, 10000, 40000, 0};

/* What the gateway plays to a fresh decoder when it loads the plugin: four samples, exactly. */
static const uint8_t sample_packet[] = {0x00, 0x00, 0x12, 0x34, 0xff, 0xff, 0x80, 0x00};
static const int16_t sample_pcm[] = {0, 0x1234, -1, -32768};
static const struct quartet_sample sample = {
    .packet = sample_packet, .pcm = sample_pcm, .packet_len = 8, .pcm_count = 4, .sample_rate = RATE, .channels = 1};

static const struct quartet_codec l16 = {
    .size = sizeof(struct quartet_codec),
    .sdp_name = "L16",
    .payload_type = QUARTET_PAYLOAD_DYNAMIC,
    .rtp_clock = RATE,
    .sdp_channels = 1,
    .max_packet = 2 * MAX_SAMPLES,
    .sample_rates = rates,
    .frame_us = durations,
    .encoder_new = new_handle,
    .encode = encode,
    .encoder_free = free_handle,
    .decoder_new = new_handle,
    .decode = decode,
    .decoder_free = free_handle,
    .packet_samples = packet_samples,
    .sample = &sample,
};

static const void *const tables[] = {&l16};

/* The one symbol that is exported: quartet_plugin_ and the id, with _ for -. */
extern const struct quartet_plugin quartet_plugin_template_codec_c;
QUARTET_EXPORT const struct quartet_plugin quartet_plugin_template_codec_c = {
    .magic = QUARTET_MAGIC,
    .abi_major = QUARTET_ABI_MAJOR,
    .abi_minor = QUARTET_ABI_MINOR,
    .size = sizeof(struct quartet_plugin),
    .kind = QUARTET_KIND_CODEC,
    .id = "template-codec-c",
    .version = "1.0",
    .licence = "CC0-1.0",
    .summary = "L16, 16 kHz: the template of a codec in C",
    .tables = tables,
    .table_count = 1,
};
