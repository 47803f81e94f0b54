/* Pushes to the keys of this process' sessions, over HTTP: as fast as they are answered, or at a fixed rate.

   Each key is pushed to in turn; its messages are numbered from 0, as tally.h wants them.  "t" is when the request was
   due, not when it could be written. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "caller.h"
#include "histogram.h"
#include "session.h"

#define MOST_CALLERS 256
#define MOST_ITEMS 1000

struct offer {
    struct crowd *crowd; /* whose keys, and whose epoll */
    uint16_t port;
    char path[64];
    char fields[128]; /* of each push, after those that all have: ,"priority":"bulk" */
    struct caller callers[MOST_CALLERS];
    uint32_t count;
    uint32_t items; /* pushes a request; 1: a single push, else {"pushes":[…]} */
    uint32_t *numbers; /* of each key's next message */
    uint32_t next_key;
    int timer;

    bool under_way;
    uint64_t interval_ns, next_due_ns, armed_ns, until_ns, deadline_ns;

    uint64_t requests, accepted, throttled, unavailable, failed, broken, latest_ns;
    uint64_t began_ns, ended_ns; /* first request written, last answer read */
    struct histogram answers;
};

/* Have *count* connections to /path on *port*; false when one is not taken. */
bool offer_callers(struct offer *offer, uint32_t count, uint16_t port, const char *path);

/* Begins; with an interval of 0 each caller sends its next request once it has its answer. */
void offer_begin(struct offer *offer, uint64_t interval_ns, uint64_t run_ns, uint64_t grace_ns);

/* Sends what is due; false once the time is over and all is answered, or the grace is over, too. */
bool offer_turn(struct offer *offer);

/* Whether *pointer*, of an event, belongs to this; then the event is dealt with. */
bool offer_on_event(struct offer *offer, void *pointer, uint32_t events);

/* Each key's numbers begin at 0 again. */
void offer_reset(struct offer *offer);

/* One JSON object. */
void offer_print(const struct offer *offer, double cpu_s);
