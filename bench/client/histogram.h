/* Durations in logarithmic buckets, each at most 1.6 % wide: percentiles of millions of values in a few KiB. */
#pragma once

#include <stdint.h>

#define HISTOGRAM_BUCKETS (64 * 42)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t ns);

/* Nearest rank; the middle of its bucket. 0 when nothing was added. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
