"""What travels: its grammar, its bytes, its versions."""
