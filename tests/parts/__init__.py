"""Real parts for tests: RabbitMQ, Redis and whole fleets, each private, on loopback, on free ports.

Refuses to mock: a part here is the program that runs in production, started and ended by the test.
"""
