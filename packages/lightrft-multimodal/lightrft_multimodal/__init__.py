"""Eyes and ears of LightRFT: media in prompts, loaded once and safely, read by every model family."""

from lightrft_multimodal.media import (
    DEFAULT_LIMITS,
    MODALITIES,
    AudioRecord,
    AudioSource,
    ImageRecord,
    ImageSource,
    Limits,
    MediaError,
    Record,
    VideoRecord,
    VideoSource,
    load_audio,
    load_image,
    load_media,
    load_video,
)

__all__ = [
    "DEFAULT_LIMITS",
    "MODALITIES",
    "AudioRecord",
    "AudioSource",
    "ImageRecord",
    "ImageSource",
    "Limits",
    "MediaError",
    "Record",
    "VideoRecord",
    "VideoSource",
    "load_audio",
    "load_image",
    "load_media",
    "load_video",
]
