#define _GNU_SOURCE
#include "session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"
#include "protocols.h"

#define PER_ADDRESS 20000 /* of the 28,000 ports that one address has for outgoing connections */
#define RECEIVED_AT_ONCE (256 * 1024)
#define STALLED_BUFFER 4096

static void bytes_keep(struct bytes *bytes, const unsigned char *data, size_t size)
{
    if (size > bytes->room) {
        unsigned char *more = realloc(bytes->data, size);
        if (more == NULL)
            abort();
        bytes->data = more;
        bytes->room = size;
    }
    if (size > 0)
        memmove(bytes->data, data, size);
    bytes->size = size;
}

static void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    memset(bytes, 0, sizeof *bytes);
}

void session_end(struct crowd *crowd, struct session *session)
{
    if (session->stage == ENDED)
        return;
    if (session->stage == CONNECTED)
        crowd->connected--;
    else
        crowd->joining--;
    session->stage = ENDED;
    crowd->ended++;
    if (session->fd >= 0)
        close(session->fd);
    bytes_free(&session->rest);
    bytes_free(&session->text);
}

static void watch(struct crowd *crowd, struct session *session, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = session};
    if (epoll_ctl(crowd->epoll, how, session->fd, &event) < 0)
        session_end(crowd, session);
}

void session_open(struct crowd *crowd)
{
    struct session *session = &crowd->sessions[crowd->opened];
    memset(session, 0, sizeof *session);
    session->index = crowd->opened++;
    session->stage = DIALING;
    crowd->joining++;
    session->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001 + session->index / PER_ADDRESS)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(crowd->port), .sin_addr.s_addr = htonl(0x7f000001)};
    if (session->fd < 0 || setsockopt(session->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0 ||
        setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(session->fd, (struct sockaddr *)&from, sizeof from) < 0 ||
        (connect(session->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)) {
        session_end(crowd, session);
        return;
    }
    watch(crowd, session, EPOLL_CTL_ADD, EPOLLOUT);
}

/* Everything that a client says here is short: a socket that cannot take it whole belongs to a server that is stuck. */
static bool say(struct session *session, const void *data, size_t size)
{
    return send(session->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

bool session_say(struct crowd *crowd, struct session *session, enum opcode opcode, const void *text, size_t length)
{
    unsigned char frame[FRAME_OVERHEAD + SAID_MOST];
    if (length <= SAID_MOST && say(session, frame, frame_make(frame, opcode, text, length)))
        return true;
    session_end(crowd, session);
    return false;
}

static void ask_for_upgrade(struct crowd *crowd, struct session *session)
{
    char request[512];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                        crowd->protocol == SOCKETIO ? "/socket.io/?EIO=4&transport=websocket" : "/", crowd->port);
    session->stage = UPGRADING;
    if (say(session, request, (size_t)size))
        watch(crowd, session, EPOLL_CTL_MOD, EPOLLIN);
    else
        session_end(crowd, session);
}

/* Takes the answer to the upgrade, if it is all there; gives the bytes that it takes. */
static size_t take_upgrade(struct crowd *crowd, struct session *session, const unsigned char *data, size_t size)
{
    const unsigned char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    if (size < 12 || memcmp(data, "HTTP/1.1 101", 12) != 0) {
        fprintf(stderr, "session %u: not upgraded: %.60s\n", session->index, (const char *)data);
        session_end(crowd, session);
        return 0;
    }
    session->stage = JOINING;
    protocol_begin(crowd, session);
    return (size_t)(end - data) + 4;
}

static void take_frame(struct crowd *crowd, struct session *session, const struct frame *frame, uint64_t now_ns)
{
    switch (frame->opcode) {
    case OP_PING:
        session_say(crowd, session, OP_PONG, frame->payload, frame->length);
        return;
    case OP_PONG:
        return;
    case OP_CLOSE:
        session_end(crowd, session);
        return;
    default:
        break;
    }
    if (crowd->protocol != NATS) {
        protocol_message(crowd, session, (const char *)frame->payload, frame->length, now_ns);
        return;
    }
    const unsigned char *data = frame->payload;
    size_t size = frame->length;
    unsigned char *joined = NULL;
    if (session->text.size > 0) {
        joined = malloc(session->text.size + size);
        if (joined == NULL)
            abort();
        memcpy(joined, session->text.data, session->text.size);
        memcpy(joined + session->text.size, data, size);
        data = joined;
        size += session->text.size;
    }
    size_t used = protocol_nats(crowd, session, (const char *)data, size, now_ns);
    if (session->stage != ENDED)
        bytes_keep(&session->text, data + used, size - used);
    free(joined);
}

static void receive(struct crowd *crowd, struct session *session)
{
    static unsigned char *buffer;
    static size_t room;
    size_t kept = session->rest.size;
    if (kept + RECEIVED_AT_ONCE > room) {
        room = kept + RECEIVED_AT_ONCE;
        free(buffer);
        if ((buffer = malloc(room)) == NULL)
            abort();
    }
    if (kept > 0)
        memcpy(buffer, session->rest.data, kept);
    ssize_t got = recv(session->fd, buffer + kept, RECEIVED_AT_ONCE, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            session_end(crowd, session);
        return;
    }
    uint64_t now_ns = monotonic_ns();
    size_t size = kept + (size_t)got, at = 0;
    if (session->stage == UPGRADING)
        at = take_upgrade(crowd, session, buffer, size);
    while (session->stage == JOINING || session->stage == CONNECTED) {
        struct frame frame;
        ssize_t taken = frame_take(buffer + at, size - at, &frame);
        if (taken == 0)
            break;
        if (taken < 0) {
            fprintf(stderr, "session %u: not a server's frame\n", session->index);
            session_end(crowd, session);
            return;
        }
        at += (size_t)taken;
        take_frame(crowd, session, &frame, now_ns);
    }
    if (session->stage != ENDED)
        bytes_keep(&session->rest, buffer + at, size - at);
}

void session_stall(struct crowd *crowd, struct session *session)
{
    int small = STALLED_BUFFER;
    session->stalled = true;
    setsockopt(session->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    watch(crowd, session, EPOLL_CTL_MOD, 0);
}

void session_on_event(struct crowd *crowd, struct session *session, uint32_t events)
{
    if (session->stage == ENDED)
        return;
    if (session->stage == DIALING && !(events & (EPOLLERR | EPOLLHUP)))
        ask_for_upgrade(crowd, session);
    else if (session->stage == DIALING || session->stalled)
        session_end(crowd, session);
    else
        receive(crowd, session);
}
