/* What sessions say and hear within websocket frames: Socket.IO 5 on Engine.IO 4, NATS, or nothing but messages. */
#pragma once

#include "frames.h"
#include "session.h"

#define SAID_MOST 512

/* Sends one frame; a session whose socket does not take it ends. */
bool session_say(struct crowd *crowd, struct session *session, enum opcode opcode, const void *text, size_t length);

/* The websocket is open: says what the protocol wants said first. */
void protocol_begin(struct crowd *crowd, struct session *session);

/* Takes one message of RAW or SOCKETIO. */
void protocol_message(struct crowd *crowd, struct session *session, const char *text, size_t length, uint64_t now_ns);

/* Takes whole protocol messages off a piece of NATS's stream; gives the bytes that it took. */
size_t protocol_nats(struct crowd *crowd, struct session *session, const char *data, size_t size, uint64_t now_ns);
