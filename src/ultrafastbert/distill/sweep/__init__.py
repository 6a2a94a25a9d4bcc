"""The search for the operating point: which member of the family replaces which FF block."""
