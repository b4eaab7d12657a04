"""Resize an image: CPU-bound work on files."""

import os
from pathlib import Path

from workd_tasks import Reject, task


@task(timeout=60, max_retries=2)
def resize_image(source: Path, target: Path, width: int) -> tuple[int, int]:
    """Write `source`, scaled to `width`, to `target`; return the new width and height in pixels.

    Safe to run twice: the new file takes its place in one step, so that nobody ever sees half of it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source) as image:
            height = max(1, round(image.height * width / image.width))
            resized = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    except UnidentifiedImageError as error:
        raise Reject(f"{source} is not an image") from error  # it will not be one next time either
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    resized.save(unfinished, format="JPEG", quality=85)
    unfinished.replace(target)
    return resized.size
