"""What the documents show is run, as it stands there."""
