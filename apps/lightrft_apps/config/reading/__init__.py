"""From YAML, flags and keywords to typed values, and back."""
