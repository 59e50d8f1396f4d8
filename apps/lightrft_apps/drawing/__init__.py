"""Pictures without a library: SVG for pages, bars and harmless text for terminals."""
