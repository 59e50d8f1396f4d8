"""The commands of `lightrft`, a module each: flags in, one call of the room that does the work."""
