"""vLLM as a sampling engine: in this process, or as a server."""
