"""What Redis (or Valkey) holds, each part with the guarantee that it gives.

Refuses to know who asks: no Flask, no Celery, no eventlet.  Every call has a deadline, and a Redis that does not
answer in time is one error, :class:`proto.errors.StoreUnavailable`.
"""
