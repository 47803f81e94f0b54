/* Many websocket sessions in one process; what they receive is counted and timed.  It may push to them over HTTP, too.

   wsclient PROTOCOL PORT CAPACITY [AUTH [PREFIX]]
     PROTOCOL: raw, socketio, nats; AUTH: ,"rooms":["bench"]; PREFIX of the sessions' keys, s if absent
   One command a line on stdin, one JSON object a line on stdout:
     connect N IN_FLIGHT MS   open N more, at most IN_FLIGHT at a time not yet connected
     await-ready N MS         until N sessions have heard `ready`
     stall K                  the first K never read again
     reset                    forget what was received; each session's numbers begin at 0 again
     lap                      say, then forget, what was received, but not which number comes next
     wait COUNT MS            until COUNT messages have arrived
     await-ended N MS         until N sessions have ended
     callers N PORT PATH      have N HTTP connections
     offer ITEMS INTERVAL_NS MS GRACE_MS [FIELDS]   push for that long, and wait for the answers; see offer.h
   It ends when stdin does.  Engine.IO and NATS pings are answered at any time. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "offer.h"
#include "session.h"

#define EVENTS 1024
#define LINE 256

struct command {
    char name[32];
    uint64_t count, in_flight;
    uint64_t began_ns, deadline_ns;
};

static double cpu_at_reset;
static struct offer offer;

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static double ms(uint64_t ns) { return (double)ns / 1e6; }

static double seconds_since(uint64_t began_ns, uint64_t ns)
{
    return ns > began_ns ? (double)(ns - began_ns) / 1e9 : 0.0;
}

static void print_state(const struct crowd *crowd, const struct command *command)
{
    const struct tally *tally = &crowd->tally;
    uint32_t least = UINT32_MAX, most = 0;
    for (uint32_t i = 0; i < crowd->opened; i++) {
        const struct session *session = &crowd->sessions[i];
        if (session->stalled)
            continue;
        least = session->sequence.received < least ? session->sequence.received : least;
        most = session->sequence.received > most ? session->sequence.received : most;
    }
    printf("{\"command\":\"%s\",\"in_time\":%s,\"connected\":%u,\"ready\":%u,\"ended\":%u,\"connect_s\":%.6f,"
           "\"ready_s\":%.6f,\"received\":%lu,\"bytes\":%lu,\"gaps\":%lu,\"duplicates\":%lu,\"out_of_order\":%lu,"
           "\"least\":%u,\"most\":%u,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"max_ms\":%.4f,\"first_sent_ns\":%lu,"
           "\"last_arrival_ns\":%lu,\"cpu_s\":%.6f}\n",
           command->name, monotonic_ns() < command->deadline_ns ? "true" : "false", crowd->connected, crowd->ready,
           crowd->ended, seconds_since(command->began_ns, crowd->last_connected_ns),
           seconds_since(command->began_ns, crowd->last_ready_ns), tally->received, tally->bytes, tally->gaps,
           tally->duplicates, tally->out_of_order, most == 0 ? 0 : least, most,
           ms(histogram_percentile(&tally->latency, 50)), ms(histogram_percentile(&tally->latency, 99)),
           ms(tally->latency.max), tally->first_sent_ns, tally->last_arrival_ns, cpu_seconds() - cpu_at_reset);
    fflush(stdout);
}

static void lap(struct crowd *crowd)
{
    memset(&crowd->tally, 0, sizeof crowd->tally);
    cpu_at_reset = cpu_seconds();
}

static void reset(struct crowd *crowd)
{
    lap(crowd);
    offer_reset(&offer);
    for (uint32_t i = 0; i < crowd->opened; i++)
        memset(&crowd->sessions[i].sequence, 0, sizeof crowd->sessions[i].sequence);
}

/* Whether *command* has what it waits for; opens sessions, and pushes, as long as it is to. */
static bool done(struct crowd *crowd, struct command *command)
{
    if (strcmp(command->name, "offer") == 0)
        return !offer_turn(&offer);
    if (monotonic_ns() >= command->deadline_ns)
        return true;
    if (strcmp(command->name, "connect") == 0) {
        while (crowd->opened < command->count && crowd->joining < command->in_flight)
            session_open(crowd);
        return crowd->opened >= command->count && crowd->joining == 0;
    }
    if (strcmp(command->name, "await-ready") == 0)
        return crowd->ready + crowd->ended >= command->count;
    if (strcmp(command->name, "await-ended") == 0)
        return crowd->ended >= command->count;
    if (strcmp(command->name, "wait") == 0)
        return crowd->tally.received >= command->count;
    return true;
}

/* Begins what pushes; a connection that is not taken ends the process. */
static void begin_offer(struct command *command, const char *line)
{
    unsigned long first, second, third, fourth;
    char path[sizeof offer.path];
    if (sscanf(line, "callers %lu %lu %63s", &first, &second, path) == 3) {
        if (!offer_callers(&offer, (uint32_t)first, (uint16_t)second, path)) {
            perror("callers");
            exit(1);
        }
        return;
    }
    offer.fields[0] = 0;
    if (sscanf(line, "offer %lu %lu %lu %lu %127s", &first, &second, &third, &fourth, offer.fields) < 4)
        return;
    offer.items = first < 1 ? 1 : first > MOST_ITEMS ? MOST_ITEMS : (uint32_t)first;
    offer_begin(&offer, second, third * 1000000UL, fourth * 1000000UL);
    command->deadline_ns = offer.deadline_ns;
}

static void begin(struct crowd *crowd, struct command *command, const char *line)
{
    unsigned long first = 0, second = 0, third = 0;
    int words = sscanf(line, "%31s %lu %lu %lu", command->name, &first, &second, &third);
    command->count = first;
    uint64_t now_ns = monotonic_ns();
    bool connect = strcmp(command->name, "connect") == 0;
    if (connect) {
        command->began_ns = now_ns;
        command->in_flight = second > 0 ? second : 1;
        command->count = crowd->opened + first > crowd->capacity ? crowd->capacity : crowd->opened + first;
    }
    command->deadline_ns = words < 3 ? UINT64_MAX : now_ns + 1000000UL * (connect ? third : second);
    if (strcmp(command->name, "callers") == 0 || strcmp(command->name, "offer") == 0)
        begin_offer(command, line);
    if (strcmp(command->name, "reset") == 0)
        reset(crowd);
    if (strcmp(command->name, "stall") == 0)
        for (uint32_t i = 0; i < crowd->opened && i < first; i++)
            if (crowd->sessions[i].stage == CONNECTED)
                session_stall(crowd, &crowd->sessions[i]);
}

/* Serves sockets and commands until stdin ends. */
static void serve(struct crowd *crowd)
{
    static struct epoll_event events[EVENTS];
    char line[LINE];
    size_t length = 0;
    struct command command = {.name = ""};
    for (;;) {
        int wait_ms = command.name[0] == 0 ? -1 : command.deadline_ns == UINT64_MAX ? 100 : 2;
        int count = epoll_wait(crowd->epoll, events, EVENTS, wait_ms);
        if (count < 0 && errno != EINTR)
            return;
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr != NULL && offer_on_event(&offer, events[i].data.ptr, events[i].events))
                continue;
            if (events[i].data.ptr != NULL) {
                session_on_event(crowd, events[i].data.ptr, events[i].events);
                continue;
            }
            ssize_t got = read(STDIN_FILENO, line + length, 1); /* commands are few and short */
            if (got <= 0 || length == LINE - 1)
                return;
            if (line[length++] == '\n') {
                line[length] = 0;
                length = 0;
                begin(crowd, &command, line);
            }
        }
        if (command.name[0] != 0 && done(crowd, &command)) {
            if (strcmp(command.name, "offer") == 0)
                offer_print(&offer, cpu_seconds() - cpu_at_reset);
            else
                print_state(crowd, &command);
            if (strcmp(command.name, "lap") == 0)
                lap(crowd);
            command.name[0] = 0;
        }
    }
}

int main(int count, char **arguments)
{
    static const char *names[] = {"raw", "socketio", "nats"};
    struct crowd crowd = {.auth = count > 4 ? arguments[4] : "", .prefix = count > 5 ? arguments[5] : "s"};
    if (count < 4) {
        fprintf(stderr, "usage: %s raw|socketio|nats PORT CAPACITY [AUTH [PREFIX]]\n", arguments[0]);
        return 2;
    }
    for (size_t i = 0; i < 3; i++)
        if (strcmp(arguments[1], names[i]) == 0)
            crowd.protocol = (enum protocol)i;
    crowd.port = (uint16_t)atoi(arguments[2]);
    crowd.capacity = (uint32_t)atoi(arguments[3]);
    crowd.sessions = calloc(crowd.capacity, sizeof *crowd.sessions);
    crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (crowd.sessions == NULL || crowd.epoll < 0 || epoll_ctl(crowd.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0) {
        perror("wsclient");
        return 1;
    }
    offer.crowd = &crowd;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1UL);
    serve(&crowd);
    return 0;
}
