"""What `lightrft rl`, `sft`, `srm` and `grm` do once their flags are read."""
