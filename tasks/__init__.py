"""Job tier: gets an accepted push to the nodes that hold its keys, or says why not.

Refuses to hold browsers and to answer callers.  ``celery -A tasks worker`` finds tasks/celery.py.
"""
