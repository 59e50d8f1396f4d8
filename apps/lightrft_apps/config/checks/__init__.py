"""What is checked before any model loads, a module a concern: each complaint says which flag to change to what."""
