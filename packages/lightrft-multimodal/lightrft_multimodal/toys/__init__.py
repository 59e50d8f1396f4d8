"""Riddles that only eyes or ears can answer, drawn from nothing but a random number generator."""

from lightrft_multimodal.toys.motions import motion
from lightrft_multimodal.toys.riddle import Riddle, write_riddles
from lightrft_multimodal.toys.shapes import shape
from lightrft_multimodal.toys.tones import tone

__all__ = ["Riddle", "motion", "shape", "tone", "write_riddles"]
