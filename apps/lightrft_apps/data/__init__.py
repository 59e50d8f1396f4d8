"""What runs learn from: prompts, given answers, comparisons, judged steps; read, checked and described."""
