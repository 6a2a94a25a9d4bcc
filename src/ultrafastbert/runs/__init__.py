"""Folders of runs: locked, resumed, written whole or not at all."""
