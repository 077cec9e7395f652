"""Draw on pictures: a palette, boxes with labels, and crops of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.boxes import clip_coords, xywh2xyxy, xyxy2xywh
from utils.data.images import write_image
from utils.fonts import find_font
from utils.paths import LONGEST_NAME, fit_name, increment_path
from utils.terminal import shown_name

Color = tuple[int, int, int]


class Colors:
    """Twenty colours, far apart in CIELAB and dark enough for white letters; `colors(i)` goes round.

    Found by greedy farthest-point selection with exchanges: no pair is closer than 36 (CIE76).
    """

    HEX = (
        'FF0066 00AA66 0000FF 0099DD 664411 882299 FF00FF DD7700 CC8899 2277FF '
        'FF0000 991111 554477 77AA11 991155 FF33BB 00AAAA 005533 BB88DD BB9944'
    )

    def __init__(self) -> None:
        self.palette = [self.hex2rgb(h) for h in self.HEX.split()]
        self.n = len(self.palette)

    def __call__(self, i: int, bgr: bool = False) -> Color:
        """The colour of class `i` as (r, g, b), or (b, g, r) for OpenCV pictures."""
        color = self.palette[int(i) % self.n]
        return color[::-1] if bgr else color

    @staticmethod
    def hex2rgb(h: str) -> Color:
        """'FF0066' or '#FF0066' -> (255, 0, 102)."""
        h = h.lstrip('#')
        return int(h[:2], 16), int(h[2:4], 16), int(h[4:6], 16)


colors = Colors()


class Annotator:
    """Draws boxes and text on one picture.

    ASCII labels are drawn by OpenCV. For others, or with `pil`, Pillow draws with a font that has their glyphs.

    Args:
        im: (h, w, 3) uint8 array, drawn on in place where it can be, or a PIL image. Colours are given in its own
            channel order.
        line_width: of boxes, pixels; by default 0.3 % of the picture's mean side.
        font_size: of Pillow's text, pixels; by default 3.5 % of the mean side.
        font: a font file; by default one that can show `example`.
        pil: draw with Pillow whatever the text.
        example: text like the labels to come (the class names): decides between OpenCV and Pillow.
    """

    def __init__(
        self,
        im: np.ndarray | Image.Image,
        line_width: int | None = None,
        font_size: float | None = None,
        font: str = '',
        pil: bool = False,
        example: str | Sequence[str] = 'abc',
    ) -> None:
        example = example if isinstance(example, str) else ''.join(example)
        self.pil = pil or isinstance(im, Image.Image) or not example.isascii()
        if self.pil:
            self.im = im if isinstance(im, Image.Image) else Image.fromarray(im)
            self.draw = ImageDraw.Draw(self.im)
            size = font_size or max(round(sum(self.im.size) / 2 * 0.035), 12)
            self.font = ImageFont.truetype(font or str(find_font(example)), round(size))
            mean_side = sum(self.im.size) / 2
        else:
            self.im = np.require(im, np.uint8, ['C', 'W'])
            mean_side = sum(self.im.shape[:2]) / 2
        self.lw = line_width or max(round(mean_side * 0.003), 2)
        # OpenCV's text grows with the lines; in small pictures it shrinks, or labels would cover what they name.
        self.text_scale = max(self.lw / 3 * min(mean_side / 900, 1), 0.4)
        self.text_width = max(round(self.text_scale * 2), 1)

    def box_label(
        self,
        box: Sequence[float],
        label: str = '',
        color: Color = (128, 128, 128),
        txt_color: Color = (255, 255, 255),
    ) -> None:
        """Draw a box (x1, y1, x2, y2 in pixels) and its label: above the box where that fits, else inside it."""
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        if self.pil:
            # Pillow refuses corners in the wrong order, OpenCV does not mind.
            corners = [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]
            self.draw.rectangle(corners, width=self.lw, outline=color)
        else:
            cv2.rectangle(self.im, (x1, y1), (x2, y2), color, self.lw, cv2.LINE_AA)
        if label:
            self._label(x1, y1, shown_name(label), color, txt_color)

    def _label(self, x: int, y: int, label: str, color: Color, txt_color: Color) -> None:
        """Text on a filled ground that stands on (x, y), or hangs from it where the picture has no room above.

        A label that would reach over the right border is moved to the left.
        """
        if self.pil:
            _, _, w, h = self.draw.textbbox((0, 0), label, font=self.font)
            left, top = max(min(x, self.im.width - 1 - w), 0), y - h if y >= h else y
            self.draw.rectangle([left, top, left + w, top + h], fill=color)
            self.draw.text((left, top), label, fill=txt_color, font=self.font)
            return
        (w, ascent), descent = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, self.text_scale, self.text_width)
        h = ascent + descent
        left, top = max(min(x, self.im.shape[1] - 1 - w), 0), y - h if y >= h else y
        cv2.rectangle(self.im, (left, top), (left + w, top + h), color, -1)
        self._put_text(label, (left, top + ascent + 1), txt_color, self.text_width)

    def rectangle(
        self, xy: Sequence[float], fill: Color | None = None, outline: Color | None = None, width: int = 1
    ) -> None:
        """A plain rectangle, x1, y1, x2, y2 in pixels."""
        if self.pil:
            self.draw.rectangle(list(xy), fill, outline, width)
            return
        p1, p2 = (round(xy[0]), round(xy[1])), (round(xy[2]), round(xy[3]))
        if fill is not None:
            cv2.rectangle(self.im, p1, p2, fill, -1)
        if outline is not None:
            cv2.rectangle(self.im, p1, p2, outline, width)

    def text(self, xy: Sequence[float], text: str, txt_color: Color = (255, 255, 255), anchor: str = 'top') -> None:
        """Text with a thin black outline at (x, y), its upper (`anchor` 'top') or lower ('bottom') left corner."""
        x, y = xy
        if self.pil:
            h = self.draw.textbbox((0, 0), text, font=self.font)[3]
            origin = (x, y - h if anchor == 'bottom' else y)
            self.draw.text(origin, text, fill=txt_color, font=self.font, stroke_width=1, stroke_fill=(0, 0, 0))
            return
        h = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self.text_scale, self.text_width)[0][1]
        origin = (round(x), round(y if anchor == 'bottom' else y + h))
        self._put_text(text, origin, (0, 0, 0), self.text_width + 2)
        self._put_text(text, origin, txt_color, self.text_width)

    def _put_text(self, text: str, origin: tuple[int, int], color: Color, thickness: int) -> None:
        """OpenCV's text with its lower left corner at `origin`."""
        cv2.putText(self.im, text, origin, cv2.FONT_HERSHEY_SIMPLEX, self.text_scale, color, thickness, cv2.LINE_AA)

    def result(self) -> np.ndarray:
        """The annotated picture, (h, w, 3) uint8 in the channel order given."""
        return np.asarray(self.im)


def save_one_box(
    xyxy: Sequence[float],
    im: np.ndarray,
    file: str | Path = 'im.jpg',
    gain: float = 1.02,
    pad: int = 10,
    square: bool = False,
    BGR: bool = False,
    save: bool = True,
) -> np.ndarray:
    """Cut a box out of a picture, with a margin, and write it as a JPEG.

    Args:
        xyxy: the box, pixels.
        im: (h, w, 3) uint8, BGR.
        file: where to write; the suffix becomes .jpg, and a number is added when the name is taken.
        gain, pad: the crop is `gain` times as wide and high plus `pad` pixels; `square` takes the longer side for both.
        BGR: return the crop in BGR; by default in RGB.
        save: write the file.

    Returns:
        The crop, clipped to the picture.
    """
    crop = cut_box(xyxy, im, gain, pad, square)
    if save:
        save_crop(file, crop)
    return crop if BGR else crop[..., ::-1]


def cut_box(
    xyxy: Sequence[float], im: np.ndarray, gain: float = 1.02, pad: int = 10, square: bool = False
) -> np.ndarray:
    """`save_one_box` without the file: the crop in the image's own channel order."""
    box = xyxy2xywh(np.array([[float(v) for v in xyxy]]))
    if square:
        box[:, 2:] = box[:, 2:].max()
    box[:, 2:] = box[:, 2:] * gain + pad
    box = xywh2xyxy(box)
    clip_coords(box, im.shape)
    x1, y1, x2, y2 = box[0].astype(int)
    return im[y1:y2, x1:x2]


def save_crop(file: str | Path, crop: np.ndarray) -> Path:
    """Write a crop (h, w, 3) BGR as a JPEG under the file's name; a number is added when that is taken.

    A name that would be too long with a number is cut, see `fit_name`.
    """
    file = Path(file).with_suffix('.jpg')
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_image(increment_path(file.with_name(fit_name(file.name, LONGEST_NAME - 8))), crop)
