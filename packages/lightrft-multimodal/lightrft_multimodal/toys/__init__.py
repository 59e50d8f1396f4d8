"""Riddles that only eyes or ears can answer, drawn from nothing but a random number generator."""

from lightrft_multimodal.toys.motions import motion
from lightrft_multimodal.toys.riddle import Riddle, swapped, write_riddles, write_rows
from lightrft_multimodal.toys.shapes import shape
from lightrft_multimodal.toys.tones import tone

__all__ = ["Riddle", "motion", "shape", "swapped", "tone", "write_riddles", "write_rows"]
