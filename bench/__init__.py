"""Measurements, side by side with peers in one run.  Results are ratios first: these machines are noisy."""
