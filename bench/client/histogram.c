#include "histogram.h"

/* Below 128 every value has a bucket; from there on each power of two has 64. */
static unsigned bucket_of(uint64_t value)
{
    if (value < 64)
        return (unsigned)value;
    unsigned shift = 57 - (unsigned)__builtin_clzll(value);
    unsigned bucket = (shift << 6) + (unsigned)(value >> shift);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t middle_of(unsigned bucket)
{
    if (bucket < 128)
        return bucket;
    unsigned shift = (bucket >> 6) - 1;
    return ((uint64_t)(64 + (bucket & 63)) << shift) + (1ULL << shift) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->buckets[bucket_of(ns)]++;
    histogram->count++;
    if (ns > histogram->max)
        histogram->max = ns;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    if (histogram->count == 0)
        return 0;
    uint64_t rank = (uint64_t)((double)histogram->count * percent / 100.0);
    uint64_t below = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        below += histogram->buckets[bucket];
        if (below > rank)
            return middle_of(bucket) < histogram->max ? middle_of(bucket) : histogram->max;
    }
    return histogram->max;
}
