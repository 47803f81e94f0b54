"""What the wires carry: gRPC messages, task payloads, key names, and the error tree.

Refuses to do I/O, and imports nothing else of ours: every tier meets here.
"""
