"""Pictures as text inside the page."""

import base64
import io
from typing import Any

from PIL import Image


def data_uri(data: bytes, mime: str) -> str:
    """Bytes as `data:<mime>;base64,…`, for `src`."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def png(image: Any) -> str:
    """uint8 [h, w, 3] as a data URI, pixel for pixel."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return data_uri(buffer.getvalue(), "image/png")


def jpeg(image: Any, quality: int = 80, side: int | None = None) -> str:
    """uint8 [h, w, 3] as a data URI, 4:4:4: tissue is fine colour. No longer than `side` pixels."""
    buffer, picture = io.BytesIO(), Image.fromarray(image)
    if side is not None:
        picture.thumbnail((side, side))
    picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return data_uri(buffer.getvalue(), "image/jpeg")
