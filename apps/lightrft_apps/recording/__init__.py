"""A run on disk: its folder, what is written into it while it goes, and who follows that."""
