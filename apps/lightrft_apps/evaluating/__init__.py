"""`lightrft eval`: benchmarks, how far their numbers can be trusted, comparisons of models, and test-time search."""
