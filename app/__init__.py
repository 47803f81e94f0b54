"""Logic tier: says yes or no to a push, and tells its fate.

Refuses to talk to nodes: what it accepts goes on the broker, confirmed, before the caller hears 202.
"""
