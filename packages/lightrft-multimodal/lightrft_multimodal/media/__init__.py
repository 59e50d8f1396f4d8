"""Images, videos and sounds as data: loaded once, safely, from wherever they are."""

from lightrft_multimodal.media.audio import AudioSource, load_audio
from lightrft_multimodal.media.errors import MediaError
from lightrft_multimodal.media.image import ImageSource, load_image
from lightrft_multimodal.media.limits import DEFAULT_LIMITS, Limits
from lightrft_multimodal.media.parts import MODALITIES, load_media
from lightrft_multimodal.media.records import AudioRecord, ImageRecord, Record, VideoRecord
from lightrft_multimodal.media.video import VideoSource, load_video
from lightrft_multimodal.media.wire import from_wire, to_wire

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
    "from_wire",
    "load_audio",
    "load_image",
    "load_media",
    "load_video",
    "to_wire",
]
