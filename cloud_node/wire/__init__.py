"""The way from an event to the bytes on a socket, and the seam to the libraries underneath."""
