"""The quick starts beyond text: models that see and hear, and reward models."""
