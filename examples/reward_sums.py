"""A reward of your own: one function, a batch in, scores out. It runs in worker processes with a deadline."""

import re


def last_number(prompts: list[str], responses: list[str], labels: list[str]) -> list[float]:
    """1 if the last number in the answer is the label, else 0."""
    scores = []
    for response, label in zip(responses, labels, strict=True):
        numbers = re.findall(r"-?\d+", response)
        scores.append(1.0 if numbers and int(numbers[-1]) == int(label) else 0.0)
    return scores
