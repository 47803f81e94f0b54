"""The grammar of keys: what a push may be addressed to and a session may answer to.

A key is 1 to 256 bytes of UTF-8 without control characters.  Four forms are reserved: ``mid:<member>``,
``room:<room>``, ``probe:<node>`` (a node's own data-path heartbeat) and ``all``.  Everything else is a
plain key.  Refuses to know who holds a key.
"""

import unicodedata

ALL = "all"
MID_PREFIX = "mid:"
ROOM_PREFIX = "room:"
PROBE_PREFIX = "probe:"
MAX_KEY_BYTES = 256

_RESERVED_PREFIXES = (MID_PREFIX, ROOM_PREFIX, PROBE_PREFIX)


def flaw(text: str, *, max_bytes: int = MAX_KEY_BYTES) -> str | None:
    """Say what keeps *text* from being a key's text, or None when nothing does."""
    if 0 < len(text) <= max_bytes and text.isascii() and text.isprintable() and text[0] != " " != text[-1]:
        return None  # nearly all keys
    return _odd_flaw(text, max_bytes)


def _odd_flaw(text: str, max_bytes: int) -> str | None:
    if not text:
        return "must not be empty"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "must be valid Unicode: it holds half a surrogate pair"
    if size > max_bytes:
        return f"must be at most {max_bytes} bytes, not {size}"
    if any(unicodedata.category(char) == "Cc" for char in text):
        return "must not hold control characters"
    if text != text.strip():
        return "must not begin or end with white space"
    return None


def plain_key_flaw(text: str) -> str | None:
    """As :func:`flaw`, and reserved forms are refused with a hint at the field that means them."""
    if text == ALL:
        return "'all' is reserved: to reach every session, say all: true"
    for prefix, instead in ((MID_PREFIX, "mids"), (ROOM_PREFIX, "rooms"), (PROBE_PREFIX, "")):
        if text.startswith(prefix):
            return f"the prefix '{prefix}' is reserved" + (f": use {instead}" if instead else "")
    return flaw(text)


def mid_flaw(mid: str) -> str | None:
    """Say what keeps *mid* from naming a member."""
    return flaw(mid, max_bytes=MAX_KEY_BYTES - len(MID_PREFIX))


def room_flaw(room: str) -> str | None:
    """Say what keeps *room* from naming a room."""
    return flaw(room, max_bytes=MAX_KEY_BYTES - len(ROOM_PREFIX))


def is_plain(key: str) -> bool:
    """Tell a plain key from a reserved form."""
    return key != ALL and not key.startswith(_RESERVED_PREFIXES)


def mid_key(mid: str) -> str:
    """Name the key that every session of member *mid* answers to."""
    return MID_PREFIX + mid


def room_key(room: str) -> str:
    """Name the key that every session in *room* answers to."""
    return ROOM_PREFIX + room


def probe_key(address: str) -> str:
    """Name the key by which the node at *address* (``host:port``) pushes to itself."""
    return PROBE_PREFIX + address


def room_of(key: str) -> str | None:
    """Give the room that *key* names, or None when it is another kind of key."""
    return key.removeprefix(ROOM_PREFIX) if key.startswith(ROOM_PREFIX) else None
