/* What arrived: how many, how late, and whether each session got its messages once and in order.

   A message says when it was sent and its number within its session, from 0: "t":<CLOCK_MONOTONIC ns> and "n":<number>,
   anywhere in the payload. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

struct sequence {
    uint32_t next;
    uint32_t received;
    uint64_t seen; /* bit i: number next - 1 - i has arrived */
};

struct tally {
    uint64_t received;
    uint64_t bytes;
    uint64_t gaps; /* numbers that were skipped and have not come since */
    uint64_t duplicates;
    uint64_t out_of_order;
    uint64_t first_sent_ns;
    uint64_t last_arrival_ns;
    struct histogram latency;
};

uint64_t monotonic_ns(void);

/* Takes one payload; what has no "t": and "n": is not a message and is not counted. */
void tally_take(struct tally *tally, struct sequence *sequence, const char *payload, size_t length, uint64_t now_ns);
