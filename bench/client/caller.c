#define _GNU_SOURCE
#include "caller.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tally.h"

#define DIAL_S 5
#define READ_AT_ONCE (64 * 1024)
#define LARGEST_ANSWER (16U << 20)

static void need(char **data, size_t *room, size_t wanted)
{
    if (wanted <= *room)
        return;
    if ((*data = realloc(*data, wanted)) == NULL)
        abort();
    *room = wanted;
}

static void watch(struct caller *caller, int epoll, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = caller};
    if (epoll_ctl(epoll, how, caller->fd, &event) < 0)
        caller->state = BROKEN;
}

bool caller_dial(struct caller *caller, int epoll, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001)};
    struct timeval deadline = {.tv_sec = DIAL_S}; /* of connect, too: see socket(7) */
    int on = 1;
    caller_close(caller);
    caller->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (caller->fd < 0 || setsockopt(caller->fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline) < 0 ||
        setsockopt(caller->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        connect(caller->fd, (struct sockaddr *)&to, sizeof to) < 0) {
        caller_close(caller);
        return false;
    }
    caller->state = IDLE;
    watch(caller, epoll, EPOLL_CTL_ADD, EPOLLIN);
    return caller->state == IDLE;
}

void caller_close(struct caller *caller)
{
    if (caller->fd >= 0)
        close(caller->fd);
    caller->fd = -1;
    caller->state = BROKEN;
    caller->answer_size = 0;
}

char *caller_room(struct caller *caller, size_t room)
{
    need(&caller->request, &caller->request_room, room);
    return caller->request;
}

static void write_on(struct caller *caller, int epoll)
{
    size_t left = caller->request_size - caller->written;
    ssize_t sent = send(caller->fd, caller->request + caller->written, left, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        caller->state = BROKEN;
        return;
    }
    bool was_first = caller->written == 0;
    caller->written += sent > 0 ? (size_t)sent : 0;
    bool whole = caller->written == caller->request_size;
    if (!whole)
        watch(caller, epoll, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    else if (!was_first)
        watch(caller, epoll, EPOLL_CTL_MOD, EPOLLIN);
}

void caller_send(struct caller *caller, int epoll, size_t size)
{
    caller->request_size = size;
    caller->written = 0;
    caller->answer_size = 0;
    caller->state = WAITING;
    caller->began_ns = monotonic_ns();
    write_on(caller, epoll);
}

/* Whether the answer is all there; fills *answer* if so. */
static bool whole(const struct caller *caller, struct answer *answer)
{
    const char *data = caller->answer;
    const char *end = memmem(data, caller->answer_size, "\r\n\r\n", 4);
    if (end == NULL || caller->answer_size < 12)
        return false;
    answer->status = atoi(data + 9); /* HTTP/1.1 202 */
    answer->body = end + 4;
    answer->size = caller->answer_size - (size_t)(answer->body - data);
    for (const char *line = memchr(data, '\n', caller->answer_size); line != NULL && line < end;
         line = memchr(line + 1, '\n', (size_t)(end + 2 - line))) {
        if (strncasecmp(line + 1, "content-length:", 15) == 0)
            return answer->size >= strtoul(line + 16, NULL, 10);
    }
    /* Chunked.  JSON has no bare line ends, so this is the last chunk and nothing else. */
    return (answer->size >= 7 && memcmp(answer->body + answer->size - 7, "\r\n0\r\n\r\n", 7) == 0) ||
           (answer->size == 5 && memcmp(answer->body, "0\r\n\r\n", 5) == 0);
}

bool caller_on_event(struct caller *caller, int epoll, uint32_t events, struct answer *answer)
{
    if (caller->fd < 0)
        return false; /* closed by what came earlier in the same turn */
    if (events & EPOLLOUT && caller->state == WAITING)
        write_on(caller, epoll);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || caller->state == BROKEN)
        return false;
    need(&caller->answer, &caller->answer_room, caller->answer_size + READ_AT_ONCE + 1);
    ssize_t got = recv(caller->fd, caller->answer + caller->answer_size, READ_AT_ONCE, MSG_DONTWAIT);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            caller->state = BROKEN;
        return false;
    }
    caller->answer_size += (size_t)got;
    caller->answer[caller->answer_size] = 0; /* what reads numbers stops here */
    if (caller->state != WAITING || caller->answer_size > LARGEST_ANSWER) {
        caller->state = BROKEN;
        return false;
    }
    if (!whole(caller, answer))
        return false;
    caller->state = IDLE;
    return true;
}
