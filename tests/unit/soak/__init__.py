"""The soak's own judgement: its account, its schedule, and what it puts between processes."""
