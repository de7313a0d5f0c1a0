"""Contact sheets: many pictures side by side as one, and PNG files of them."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing

_EDGE = 2  # pixels between two pictures
_GREY = 96  # of these
_SMALLEST = 48  # pixels of a picture's shorter side, which is enlarged to at least about so many

Pixels = npt.NDArray[np.uint8]


def sheet(pictures: npt.NDArray[Any], levels: int, *, columns: int = 0) -> Pixels:
    """Pictures side by side, row by row, enlarged by a whole factor where they are small.

    Shapes: values ``[N, C, H, W]`` below ``levels``, C 1 or 3 (of other channels the first is shown) → bytes ``[height,
    width]`` or ``[height, width, 3]``.

    Args:
        columns: pictures of a row (0: as many as there are rows, or one more).
    """
    count, channels, height, width = pictures.shape
    columns = columns or math.ceil(math.sqrt(count))
    lines = -(-count // columns)
    factor = max(1, round(_SMALLEST / min(height, width)))
    shown = pictures if channels == 3 else pictures[:, :1]
    bright = (shown.astype(np.float64) * (255 / (levels - 1))).round().astype(np.uint8)
    large = bright.repeat(factor, axis=2).repeat(factor, axis=3)  # [N, C, H·factor, W·factor]
    depth, tall, wide = large.shape[1:]
    made = np.full((lines * (tall + _EDGE) + _EDGE, columns * (wide + _EDGE) + _EDGE, depth), _GREY, np.uint8)
    for number, picture in enumerate(large):
        line, column = divmod(number, columns)
        top, left = _EDGE + line * (tall + _EDGE), _EDGE + column * (wide + _EDGE)
        made[top : top + tall, left : left + wide] = picture.transpose(1, 2, 0)
    return made if depth == 3 else made[..., 0]


def write_png(path: str | os.PathLike[str], pixels: Pixels) -> None:
    """Write bytes ``[height, width]`` or ``[height, width, 3]`` as a PNG file.

    Raises:
        SeqgenError: where the file cannot be written, and without Pillow.
    """
    try:
        from PIL import Image
    except ImportError:
        raise SeqgenError("no PNG files without Pillow", remedy="install seqgen with its extra `train`") from None
    with replacing(path) as file:
        Image.fromarray(pixels).save(file, "PNG")
