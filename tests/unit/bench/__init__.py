"""Facts about the programs and numbers of bench/."""
