#define _GNU_SOURCE
#include "tally.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#define MARK 4

uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* Messages of one run look alike, so *guess*, where the mark was last time, is nearly always right. */
static bool number_after(const char *mark, size_t *guess, const char *payload, size_t length, uint64_t *number)
{
    if (*guess + MARK >= length || memcmp(payload + *guess, mark, MARK) != 0) {
        const char *found = memmem(payload, length, mark, MARK);
        if (found == NULL)
            return false;
        *guess = (size_t)(found - payload);
    }
    uint64_t value = 0;
    size_t at = *guess + MARK;
    size_t first = at;
    for (; at < length && payload[at] >= '0' && payload[at] <= '9'; at++)
        value = value * 10 + (uint64_t)(payload[at] - '0');
    *number = value;
    return at > first;
}

static void note_number(struct tally *tally, struct sequence *sequence, uint32_t number)
{
    if (number >= sequence->next) {
        uint32_t step = number - sequence->next + 1;
        tally->gaps += step - 1;
        sequence->seen = (step < 64 ? sequence->seen << step : 0) | 1;
        sequence->next = number + 1;
        return;
    }
    uint32_t back = sequence->next - 1 - number;
    if (back < 64 && sequence->seen >> back & 1) {
        tally->duplicates++;
        return;
    }
    tally->out_of_order++;
    if (back < 64)
        sequence->seen |= 1ULL << back;
    if (tally->gaps > 0)
        tally->gaps--;
}

void tally_take(struct tally *tally, struct sequence *sequence, const char *payload, size_t length, uint64_t now_ns)
{
    static size_t sent_guess, number_guess;
    uint64_t sent_ns, number;
    if (!number_after("\"t\":", &sent_guess, payload, length, &sent_ns) ||
        !number_after("\"n\":", &number_guess, payload, length, &number))
        return;
    tally->received++;
    tally->bytes += length;
    sequence->received++;
    note_number(tally, sequence, (uint32_t)number);
    if (tally->first_sent_ns == 0 || sent_ns < tally->first_sent_ns)
        tally->first_sent_ns = sent_ns;
    tally->last_arrival_ns = now_ns;
    histogram_add(&tally->latency, now_ns > sent_ns ? now_ns - sent_ns : 0);
}
