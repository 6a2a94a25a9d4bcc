"""The search for the operating point: which candidate replaces which FF layer."""
