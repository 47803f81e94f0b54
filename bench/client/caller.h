/* One keep-alive HTTP/1.1 connection that POSTs, one request at a time, and reads the answers.

   It knows as much of HTTP as its peers say: an answer ends by its Content-Length or with its last chunk.  Requests are
   not pipelined, so whatever follows an answer is an error. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum calling { IDLE, WAITING, BROKEN };

struct caller {
    int fd; /* -1: not connected */
    enum calling state;
    uint64_t due_ns;   /* when the request under way was due */
    uint64_t began_ns; /* when it began to be written */
    uint64_t rests_until_ns;
    char *request;
    size_t request_size, request_room, written;
    char *answer;
    size_t answer_size, answer_room;
};

struct answer {
    int status;
    const char *body; /* chunks as they came */
    size_t size;
};

/* Connects, within a deadline; false when nobody takes the connection. */
bool caller_dial(struct caller *caller, int epoll, uint16_t port);

/* Gives at least *room* bytes for the next request. */
char *caller_room(struct caller *caller, size_t room);

/* Sends the request of *size* bytes that is in its room; the caller is then WAITING, or BROKEN. */
void caller_send(struct caller *caller, int epoll, size_t size);

/* Writes and reads what can be; true once the answer is whole, and the caller IDLE.  BROKEN when the server hung up. */
bool caller_on_event(struct caller *caller, int epoll, uint32_t events, struct answer *answer);

void caller_close(struct caller *caller);
