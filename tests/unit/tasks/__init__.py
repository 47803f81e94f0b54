"""What a worker decides, without a broker."""
