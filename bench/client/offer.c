#define _GNU_SOURCE
#include "offer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MOST_HEAD 256
#define MOST_ITEM 384
#define RESTS_NS 100000000UL   /* after a refusal: logic is not asked again at once */
#define ANSWER_NS 15000000000UL /* longest wait for one */

static void watch_timer(struct offer *offer)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = offer};
    offer->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (offer->timer < 0 || epoll_ctl(offer->crowd->epoll, EPOLL_CTL_ADD, offer->timer, &event) < 0)
        abort();
}

bool offer_callers(struct offer *offer, uint32_t count, uint16_t port, const char *path)
{
    if (offer->numbers == NULL) {
        offer->numbers = calloc(offer->crowd->capacity, sizeof *offer->numbers);
        watch_timer(offer);
    }
    for (uint32_t i = 0; i < offer->count; i++)
        caller_close(&offer->callers[i]);
    offer->count = count < MOST_CALLERS ? count : MOST_CALLERS;
    offer->port = port;
    snprintf(offer->path, sizeof offer->path, "%s", path);
    for (uint32_t i = 0; i < offer->count; i++) {
        offer->callers[i].fd = -1;
        if (!caller_dial(&offer->callers[i], offer->crowd->epoll, port))
            return false;
    }
    return true;
}

void offer_reset(struct offer *offer)
{
    if (offer->numbers != NULL)
        memset(offer->numbers, 0, offer->crowd->capacity * sizeof *offer->numbers);
}

void offer_begin(struct offer *offer, uint64_t interval_ns, uint64_t run_ns, uint64_t grace_ns)
{
    offer->requests = offer->accepted = offer->throttled = offer->unavailable = offer->failed = offer->broken = 0;
    offer->latest_ns = offer->began_ns = offer->ended_ns = offer->armed_ns = 0;
    memset(&offer->answers, 0, sizeof offer->answers);
    offer->interval_ns = interval_ns;
    offer->next_due_ns = monotonic_ns();
    offer->until_ns = offer->next_due_ns + run_ns;
    offer->deadline_ns = offer->until_ns + grace_ns;
    offer->under_way = offer->count > 0;
}

static size_t put_item(struct offer *offer, char *at, uint64_t due_ns)
{
    uint32_t key = offer->next_key++ % offer->crowd->capacity;
    return (size_t)snprintf(at, MOST_ITEM, "{\"keys\":[\"%s%u\"],\"op\":9,\"msg\":{\"t\":%lu,\"n\":%u}%s}",
                            offer->crowd->prefix, key, due_ns, offer->numbers[key]++, offer->fields);
}

static void send_next(struct offer *offer, struct caller *caller, uint64_t due_ns)
{
    char *room = caller_room(caller, MOST_HEAD + 32 + (size_t)offer->items * (MOST_ITEM + 1));
    char *body = room + MOST_HEAD, *at = body, head[MOST_HEAD];
    if (offer->items > 1)
        at = stpcpy(at, "{\"pushes\":[");
    for (uint32_t i = 0; i < offer->items; i++) {
        if (i > 0)
            *at++ = ',';
        at += put_item(offer, at, due_ns);
    }
    if (offer->items > 1)
        at = stpcpy(at, "]}");
    size_t size = (size_t)(at - body);
    int length = snprintf(head, sizeof head,
                          "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n",
                          offer->path, offer->port, size);
    memmove(room + length, body, size);
    memcpy(room, head, (size_t)length);
    caller->due_ns = due_ns;
    caller_send(caller, offer->crowd->epoll, (size_t)length + size);
    offer->requests++;
    if (offer->began_ns == 0)
        offer->began_ns = caller->began_ns;
}

/* A batch answers with an item for each push: those that were taken have a push_id. */
static uint64_t taken(const struct offer *offer, const struct answer *answer)
{
    static const char mark[] = "\"push_id\"";
    uint64_t count = 0;
    if (offer->items == 1)
        return 1;
    const char *at = answer->body, *end = at + answer->size;
    while ((at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1)) != NULL) {
        count++;
        at += sizeof mark - 1;
    }
    return count;
}

static void note(struct offer *offer, struct caller *caller, const struct answer *answer)
{
    uint64_t now_ns = monotonic_ns();
    histogram_add(&offer->answers, now_ns - caller->due_ns);
    offer->ended_ns = now_ns;
    if (answer->status == 202) {
        offer->accepted += taken(offer, answer);
        return;
    }
    caller->rests_until_ns = now_ns + RESTS_NS;
    if (answer->status == 429)
        offer->throttled++;
    else if (answer->status == 503)
        offer->unavailable++;
    else if (offer->failed++ == 0)
        fprintf(stderr, "answered %d: %.*s\n", answer->status, (int)(answer->size < 300 ? answer->size : 300),
                answer->body);
}

/* Makes good what broke; a connection that idled while its server closed it cost no request. */
static bool mend(struct offer *offer, struct caller *caller, bool had_request)
{
    offer->broken += had_request ? 1 : 0;
    if (caller_dial(caller, offer->crowd->epoll, offer->port))
        return true;
    caller->rests_until_ns = monotonic_ns() + RESTS_NS;
    return false;
}

bool offer_on_event(struct offer *offer, void *pointer, uint32_t events)
{
    if (pointer == offer) {
        uint64_t expirations;
        ssize_t got = read(offer->timer, &expirations, sizeof expirations); /* only so that it is no longer readable */
        return got != 0;
    }
    if ((char *)pointer < (char *)offer->callers || (char *)pointer >= (char *)(offer->callers + MOST_CALLERS))
        return false;
    struct caller *caller = pointer;
    struct answer answer;
    bool waited = caller->state == WAITING;
    if (caller_on_event(caller, offer->crowd->epoll, events, &answer))
        note(offer, caller, &answer);
    else if (caller->state == BROKEN)
        mend(offer, caller, waited);
    return true;
}

/* Wakes the process when the next request is due; one that is late already waits for a caller, not for the clock. */
static void arm(struct offer *offer, uint64_t now_ns)
{
    if (offer->interval_ns == 0 || offer->next_due_ns <= now_ns || offer->next_due_ns == offer->armed_ns)
        return;
    offer->armed_ns = offer->next_due_ns;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(offer->next_due_ns / 1000000000UL),
                                         .tv_nsec = (long)(offer->next_due_ns % 1000000000UL)}};
    timerfd_settime(offer->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* Gives a request to *caller* if one is due. */
static void give(struct offer *offer, struct caller *caller, uint64_t now_ns)
{
    if (offer->interval_ns == 0) {
        send_next(offer, caller, now_ns);
    } else if (offer->next_due_ns <= now_ns) {
        uint64_t late_ns = now_ns - offer->next_due_ns;
        offer->latest_ns = late_ns > offer->latest_ns ? late_ns : offer->latest_ns;
        send_next(offer, caller, offer->next_due_ns);
        offer->next_due_ns += offer->interval_ns;
    }
}

/* Whether all that was to be sent has been. */
static bool over(const struct offer *offer, uint64_t now_ns)
{
    return offer->interval_ns == 0 ? now_ns >= offer->until_ns : offer->next_due_ns >= offer->until_ns;
}

bool offer_turn(struct offer *offer)
{
    uint64_t now_ns = monotonic_ns();
    bool too_late = now_ns >= offer->deadline_ns;
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < offer->count; i++) {
        struct caller *caller = &offer->callers[i];
        if (caller->state == WAITING && (too_late || now_ns > caller->began_ns + ANSWER_NS))
            mend(offer, caller, true);
        if (caller->state == BROKEN && caller->rests_until_ns <= now_ns)
            mend(offer, caller, false);
        if (caller->state == IDLE && caller->rests_until_ns <= now_ns && !too_late && !over(offer, now_ns))
            give(offer, caller, now_ns);
        waiting += caller->state == WAITING;
    }
    offer->under_way = !too_late && (waiting > 0 || !over(offer, now_ns));
    if (offer->under_way)
        arm(offer, now_ns);
    return offer->under_way;
}

void offer_print(const struct offer *offer, double cpu_s)
{
    printf("{\"command\":\"offer\",\"in_time\":%s,\"requests\":%lu,\"accepted\":%lu,\"throttled\":%lu,"
           "\"unavailable\":%lu,\"failed\":%lu,\"broken\":%lu,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"max_ms\":%.4f,"
           "\"latest_ms\":%.4f,\"began_ns\":%lu,\"ended_ns\":%lu,\"cpu_s\":%.6f}\n",
           monotonic_ns() < offer->deadline_ns ? "true" : "false", offer->requests, offer->accepted, offer->throttled,
           offer->unavailable, offer->failed, offer->broken, (double)histogram_percentile(&offer->answers, 50) / 1e6,
           (double)histogram_percentile(&offer->answers, 99) / 1e6, (double)offer->answers.max / 1e6,
           (double)offer->latest_ns / 1e6, offer->began_ns, offer->ended_ns, cpu_s);
    fflush(stdout);
}
