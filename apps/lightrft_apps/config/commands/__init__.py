"""The command line of each command: its help, how its words are read, what it refuses."""
