"""Starter: all tiers in the foreground by one command, with a broker and a store of its own where none is given.

Refuses to import the tiers: it starts them as anyone would, by the Procfile and their settings.
"""
