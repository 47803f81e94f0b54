/* One websocket session: how it comes to be connected in each protocol, and what it does with what it receives.

   The sessions of a process share one epoll and one buffer to receive into; a session keeps bytes of its own only while
   half a frame (or, for NATS, half a protocol message) has arrived. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tally.h"

enum protocol { RAW, SOCKETIO, NATS };

enum stage { UNUSED, DIALING, UPGRADING, JOINING, CONNECTED, ENDED };

struct bytes {
    unsigned char *data;
    size_t size, room;
};

struct session {
    int fd;
    uint32_t index;
    enum stage stage;
    bool ready, stalled;
    struct sequence sequence;
    struct bytes rest; /* of the websocket's stream */
    struct bytes text; /* of NATS's stream within it */
};

/* All sessions of this process. */
struct crowd {
    enum protocol protocol;
    uint16_t port;
    const char *prefix; /* of the sessions' keys, which end in their number */
    const char *auth; /* for Socket.IO: what follows the key in the auth object */
    int epoll;
    struct session *sessions;
    uint32_t capacity, opened;
    uint32_t joining; /* opened, neither connected nor ended */
    uint32_t connected, ready, ended;
    uint64_t last_connected_ns, last_ready_ns;
    struct tally tally;
};

/* Begins to connect the next session; it ends at once when there is no socket for it. */
void session_open(struct crowd *crowd);

/* Does what epoll says can be done. */
void session_on_event(struct crowd *crowd, struct session *session, uint32_t events);

/* Reads nothing from now on; what the server sends piles up. */
void session_stall(struct crowd *crowd, struct session *session);

void session_end(struct crowd *crowd, struct session *session);
