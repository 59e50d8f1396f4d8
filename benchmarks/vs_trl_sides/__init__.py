"""The two sides of benchmarks/vs_trl.py, what they share, and what is made of their numbers."""
