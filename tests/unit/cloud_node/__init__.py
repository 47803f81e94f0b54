"""What a node decides, without a browser."""
