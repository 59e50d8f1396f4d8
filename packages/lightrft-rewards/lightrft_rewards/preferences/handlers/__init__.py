"""Handlers of preference data, a file each."""
