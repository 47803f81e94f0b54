"""The parts together, as real processes."""
