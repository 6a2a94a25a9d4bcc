"""The main jobs: one command from nothing to a report."""
