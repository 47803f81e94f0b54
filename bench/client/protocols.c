#define _GNU_SOURCE
#include "protocols.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool starts(const char *text, size_t length, const char *with)
{
    size_t size = strlen(with);
    return length >= size && memcmp(text, with, size) == 0;
}

static void joined(struct crowd *crowd, struct session *session)
{
    if (session->stage != JOINING)
        return;
    session->stage = CONNECTED;
    crowd->joining--;
    crowd->connected++;
    crowd->last_connected_ns = monotonic_ns();
}

static void say_text(struct crowd *crowd, struct session *session, const char *text)
{
    session_say(crowd, session, OP_TEXT, text, strlen(text));
}

void protocol_begin(struct crowd *crowd, struct session *session)
{
    char text[128];
    if (crowd->protocol == RAW) {
        joined(crowd, session);
    } else if (crowd->protocol == NATS) {
        /* Its subjects: one that all share, and one of its own. */
        int size = snprintf(text, sizeof text, "CONNECT {\"verbose\":false}\r\nSUB all 1\r\nSUB s%u 2\r\nPING\r\n",
                            session->index);
        session_say(crowd, session, OP_BINARY, text, (size_t)size);
    }
}

static void engineio_open(struct crowd *crowd, struct session *session)
{
    char text[SAID_MOST];
    snprintf(text, sizeof text, "40{\"key\":\"%s%u\"%s}", crowd->prefix, session->index, crowd->auth);
    say_text(crowd, session, text);
}

void protocol_message(struct crowd *crowd, struct session *session, const char *text, size_t length, uint64_t now_ns)
{
    if (crowd->protocol == RAW || starts(text, length, "42[\"push\"")) {
        tally_take(&crowd->tally, &session->sequence, text, length, now_ns);
    } else if (length == 1 && text[0] == '2') {
        say_text(crowd, session, "3");
    } else if (starts(text, length, "0{")) {
        engineio_open(crowd, session);
    } else if (starts(text, length, "40")) {
        joined(crowd, session);
    } else if (starts(text, length, "42[\"ready\"")) {
        session->ready = true;
        crowd->ready++;
        crowd->last_ready_ns = now_ns;
    } else if (starts(text, length, "1") || starts(text, length, "41") || starts(text, length, "44")) {
        fprintf(stderr, "session %u: told to go: %.*s\n", session->index, (int)(length < 80 ? length : 80), text);
        session_end(crowd, session);
    }
}

/* MSG <subject> <sid> <bytes>; gives the size of the payload, or -1. */
static long payload_size(const char *line, const char *end)
{
    const char *last = memrchr(line, ' ', (size_t)(end - line));
    return last == NULL ? -1 : strtol(last + 1, NULL, 10);
}

size_t protocol_nats(struct crowd *crowd, struct session *session, const char *data, size_t size, uint64_t now_ns)
{
    size_t at = 0;
    while (session->stage != ENDED) {
        const char *line = data + at;
        const char *end = memmem(line, size - at, "\r\n", 2);
        if (end == NULL)
            return at;
        size_t length = (size_t)(end - line);
        size_t whole = length + 2;
        if (starts(line, length, "MSG ")) {
            long payload = payload_size(line, end);
            if (payload < 0 || size - at < whole + (size_t)payload + 2)
                return at;
            tally_take(&crowd->tally, &session->sequence, end + 2, (size_t)payload, now_ns);
            whole += (size_t)payload + 2;
        } else if (starts(line, length, "PING")) {
            session_say(crowd, session, OP_BINARY, "PONG\r\n", 6);
        } else if (starts(line, length, "PONG")) {
            joined(crowd, session);
        } else if (starts(line, length, "-ERR")) {
            fprintf(stderr, "session %u: %.*s\n", session->index, (int)length, line);
            session_end(crowd, session);
        }
        at += whole;
    }
    return at;
}
