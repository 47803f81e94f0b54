/* Offers messages at a fixed rate over one TCP connection, whatever the server does with them.

   sender FORM PORT COUNT INTERVAL_NS SIZE SESSIONS
     FORM  line: a body a line; nats: PUB all, or with SESSIONS PUB s<i>, in turn
   A body says when it was due, not when it could be written: {"t":<CLOCK_MONOTONIC ns>,"n":<number>,"p":"xx"}, SIZE bytes.
   With INTERVAL_NS 0 all are due at once.  Prints one JSON object when the server has the last byte in its buffer; for
   NATS, when it has answered the PING behind the last message. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tally.h"

#define BUFFER (64 * 1024)
#define LARGEST_BODY 16384
#define HEAD_START_NS 20000000UL

static char buffer[BUFFER + LARGEST_BODY + 128];
static size_t filled;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void flush(int fd)
{
    for (size_t at = 0; at < filled;) {
        ssize_t sent = send(fd, buffer + at, filled - at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            fail("send");
        at += sent > 0 ? (size_t)sent : 0;
    }
    filled = 0;
}

/* Says *text* to NATS, reads until it says PONG. */
static void ask_nats(int fd, const char *text)
{
    char answer[4096];
    size_t size = strlen(text), got = 0;
    memcpy(buffer, text, size);
    filled = size;
    flush(fd);
    while (memmem(answer, got, "PONG", 4) == NULL) {
        ssize_t more = recv(fd, answer + got, sizeof answer - got, 0);
        if (more <= 0)
            fail("no PONG");
        got += (size_t)more;
    }
}

static void add_body(uint64_t due_ns, uint64_t number, size_t size)
{
    char *at = buffer + filled;
    int head = snprintf(at, BUFFER, "{\"t\":%lu,\"n\":%lu,\"p\":\"", due_ns, number);
    size_t pad = size > (size_t)head + 2 ? size - (size_t)head - 2 : 0;
    memset(at + head, 'x', pad);
    memcpy(at + head + pad, "\"}", 2);
    filled += (size_t)head + pad + 2;
}

static void add_message(bool nats, uint64_t due_ns, uint64_t i, size_t size, uint64_t sessions)
{
    if (nats && sessions > 0)
        filled += (size_t)sprintf(buffer + filled, "PUB s%lu %zu\r\n", i % sessions, size);
    else if (nats)
        filled += (size_t)sprintf(buffer + filled, "PUB all %zu\r\n", size);
    add_body(due_ns, sessions > 0 ? i / sessions : i, size);
    memcpy(buffer + filled, "\r\n", 2);
    filled += 2;
}

static void sleep_until(uint64_t ns)
{
    struct timespec until = {.tv_sec = (time_t)(ns / 1000000000UL), .tv_nsec = (long)(ns % 1000000000UL)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

int main(int words, char **arguments)
{
    if (words != 7) {
        fprintf(stderr, "usage: %s line|nats PORT COUNT INTERVAL_NS SIZE SESSIONS\n", arguments[0]);
        return 2;
    }
    bool nats = strcmp(arguments[1], "nats") == 0;
    uint64_t count = strtoul(arguments[3], NULL, 10), interval_ns = strtoul(arguments[4], NULL, 10);
    size_t size = strtoul(arguments[5], NULL, 10);
    uint64_t sessions = strtoul(arguments[6], NULL, 10), latest_ns = 0;
    if (size > LARGEST_BODY)
        return 2;
    prctl(PR_SET_TIMERSLACK, 1UL);
    int fd = dial((uint16_t)atoi(arguments[2]));
    if (nats)
        ask_nats(fd, "CONNECT {\"verbose\":false}\r\nPING\r\n");
    uint64_t began_ns = monotonic_ns() + HEAD_START_NS;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t due_ns = began_ns + i * interval_ns, now_ns = monotonic_ns();
        if (now_ns < due_ns || filled >= BUFFER)
            flush(fd);
        if (now_ns < due_ns)
            sleep_until(due_ns);
        else if (now_ns - due_ns > latest_ns)
            latest_ns = now_ns - due_ns;
        add_message(nats, due_ns, i, size, sessions);
    }
    flush(fd);
    if (nats)
        ask_nats(fd, "PING\r\n");
    printf("{\"sent\":%lu,\"began_ns\":%lu,\"ended_ns\":%lu,\"latest_ms\":%.3f}\n", count, began_ns, monotonic_ns(),
           (double)latest_ns / 1e6);
    return 0;
}
