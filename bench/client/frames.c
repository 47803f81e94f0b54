#include "frames.h"

#include <stdint.h>
#include <string.h>

#define MASKED 0x80
#define FIN 0x80
#define LARGEST (64U << 20)

static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};

ssize_t frame_take(const unsigned char *data, size_t size, struct frame *frame)
{
    if (size < 2)
        return 0;
    if (data[1] & MASKED)
        return -1;
    size_t header = 2;
    uint64_t length = data[1];
    if (length >= 126) {
        size_t more = length == 126 ? 2 : 8;
        header += more;
        if (size < header)
            return 0;
        length = 0;
        for (size_t i = 2; i < header; i++)
            length = length << 8 | data[i];
    }
    if (length > LARGEST)
        return -1;
    if (size - header < length)
        return 0;
    frame->opcode = data[0] & 0x0f;
    frame->payload = data + header;
    frame->length = (size_t)length;
    return (ssize_t)(header + length);
}

size_t frame_make(unsigned char *out, unsigned opcode, const void *payload, size_t length)
{
    size_t at = 0;
    out[at++] = (unsigned char)(FIN | opcode);
    if (length < 126) {
        out[at++] = (unsigned char)(MASKED | length);
    } else {
        out[at++] = MASKED | 126; /* nothing that a client here says is longer than 64 KiB */
        out[at++] = (unsigned char)(length >> 8);
        out[at++] = (unsigned char)length;
    }
    memcpy(out + at, mask, sizeof mask);
    at += sizeof mask;
    const unsigned char *plain = payload;
    for (size_t i = 0; i < length; i++)
        out[at + i] = plain[i] ^ mask[i & 3];
    return at + length;
}
