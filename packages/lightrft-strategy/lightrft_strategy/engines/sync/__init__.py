"""How weights go from the trainer into an engine, and how it is shown that they arrived."""
