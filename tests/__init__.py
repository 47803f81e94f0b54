"""What cloudpush promises, as facts that can fail."""
