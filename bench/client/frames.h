/* Websocket frames (RFC 6455, section 5): what a server sends is taken apart, what a client sends is put together. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

enum opcode { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

#define FRAME_OVERHEAD 14 /* of the largest header */

struct frame {
    unsigned opcode;
    const unsigned char *payload;
    size_t length;
};

/* Bytes that the first frame of *data* takes; 0: it is not all here; -1: nothing that a server may send. */
ssize_t frame_take(const unsigned char *data, size_t size, struct frame *frame);

/* Writes one masked frame to *out*, which has room for it; gives its size. */
size_t frame_make(unsigned char *out, unsigned opcode, const void *payload, size_t length);
