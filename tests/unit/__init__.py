"""Facts that need no service."""
