"""Honest stand-ins: they keep the guarantees of what they stand in for, and can be told to fail."""
