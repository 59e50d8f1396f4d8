"""Families of models that see and hear, each a value of plain functions, behind one Adapter."""

from lightrft_multimodal.adapters.adapter import MediaAdapter
from lightrft_multimodal.adapters.family import Family, Inputs, Seen, Tower, image_text_model, joined, onto
from lightrft_multimodal.adapters.registry import family_of, load_adapter

__all__ = [
    "Family",
    "Inputs",
    "MediaAdapter",
    "Seen",
    "Tower",
    "family_of",
    "image_text_model",
    "joined",
    "load_adapter",
    "onto",
]
