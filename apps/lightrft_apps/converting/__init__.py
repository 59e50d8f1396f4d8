"""Checkpoints as Hugging Face folders: `lightrft export`, `import` and `merge-lora`."""
