"""Pictures of any mode and orientation, brought to upright RGB."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageOps

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_WHITE = (255, 255, 255, 255)


def upright_rgb(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data says; transparency on white, 16-bit grey in 8. Raises ValueError for non-colours."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256, "L")
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode}, not colours")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert("RGB")


def png(image: Image.Image) -> bytes:
    """The image as a PNG, quickly made."""
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
