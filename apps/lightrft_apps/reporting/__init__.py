"""A run as one page to look at: its curves, its configuration, and every answer token by token."""
