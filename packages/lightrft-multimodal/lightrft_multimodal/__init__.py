"""Eyes and ears of LightRFT: media in prompts, loaded once and safely."""

from lightrft_multimodal.media import ImageRecord, ImageSource, MediaError, load_image

__all__ = ["ImageRecord", "ImageSource", "MediaError", "load_image"]
