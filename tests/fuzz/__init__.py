"""Anything at all, for as long as one likes: what reads bytes of strangers neither crashes nor contradicts itself."""
