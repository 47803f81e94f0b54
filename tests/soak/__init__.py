"""Random faults under load: what was accepted, what arrived, what was lost, doubled or out of order."""
