"""Small image files of every kind that is read, as bytes."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping

import cv2
import numpy as np
from PIL import Image

SHAPE = (40, 60)  # height, width


def smooth(channels: int = 3, seed: int = 0) -> np.ndarray:
    """(40, 60, channels) uint8, or (40, 60): what compresses without much loss, different in every corner."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, channels), np.uint8)
    image = cv2.resize(noise, SHAPE[::-1], interpolation=cv2.INTER_CUBIC)
    return image if channels > 1 else image.reshape(SHAPE)


def tiff(pixels: np.ndarray, order: str = '<', bits: int = 0, **tags: int) -> bytes:
    """An uncompressed TIFF with any tags, for Pillow writes only some kinds.

    Args:
        pixels: (h, w) or (h, w, c) of any number type.
        order: of bytes, < or >.
        bits: of a sample where they are packed; 0 for whole numbers as in `pixels`.
        tags: named as below, or numbered as _274=6.
    """
    kind = {'u': 1, 'i': 2, 'f': 3}[pixels.dtype.kind]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    height, width = pixels.shape[:2]
    if bits:
        text = ''.join(format(value, f'0{bits}b') for value in pixels.ravel())
        data = int(text, 2).to_bytes(len(text) // 8, 'big')
    else:
        data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    found = {256: width, 257: height, 258: bits or pixels.itemsize * 8, 259: 1, 262: 1 if channels < 3 else 2, 273: 8,
             277: channels, 278: height, 279: len(data), 339: kind}  # fmt: skip
    found |= {int(name[1:]): value for name, value in tags.items()}
    out = {'<': b'II', '>': b'MM'}[order] + struct.pack(f'{order}HI', 42, 8 + len(data)) + data
    out += struct.pack(f'{order}H', len(found))
    for tag, value in sorted(found.items()):
        out += struct.pack(f'{order}HHII', tag, 4, 1, value)
    return out + bytes(4)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The file that Pillow makes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    """The file that OpenCV makes."""
    return cv2.imencode(suffix, pixels)[1].tobytes()


def plain_files() -> Mapping[str, bytes]:
    """Of eight bits a channel at most, by a name that begins with the suffix."""
    rgb = Image.fromarray(smooth())
    grey, alpha = rgb.convert('L'), Image.fromarray(smooth(1, seed=1))
    rgba, la = rgb.convert('RGBA'), rgb.convert('LA')
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    by_mode = {'1': rgb.convert('1'), 'L': grey, 'RGB': rgb, 'P': rgb.quantize(64), 'RGBA': rgba, 'LA': la,
               'CMYK': rgb.convert('CMYK')}  # fmt: skip
    several = {'save_all': True, 'append_images': [rgb.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]}
    files = {
        'jpg progressive': saved(rgb, 'JPEG', progressive=True),
        'jpg without its end mark': saved(rgb, 'JPEG')[:-2],
        'png palette with transparency': saved(by_mode['P'], 'PNG', transparency=3),
        'png two colours': saved(rgb.quantize(2), 'PNG', bits=1),
        'png animated': saved(rgb, 'PNG', **several),
        'tif pages': saved(rgb, 'TIFF', **several),
        'tif by JPEG': saved(rgb, 'TIFF', compression='jpeg'),
        'webp': saved(rgb, 'WEBP'),
        'webp lossless': saved(rgb, 'WEBP', lossless=True),
        'webp alpha': saved(rgba, 'WEBP', lossless=True),
        'webp animated': saved(rgb, 'WEBP', lossless=True, **several),
        'mpo': saved(rgb, 'MPO', **several),
    }
    files |= {f'jpg {mode}': saved(by_mode[mode], 'JPEG') for mode in ('L', 'RGB', 'CMYK')}
    files |= {f'png {mode}': saved(by_mode[mode], 'PNG') for mode in ('1', 'L', 'RGB', 'P', 'RGBA', 'LA')}
    files |= {f'bmp {mode}': saved(by_mode[mode], 'BMP') for mode in ('1', 'L', 'RGB', 'P', 'RGBA')}
    return files | {
        f'tif {mode} {how}': saved(image, 'TIFF', compression=how)
        for mode, image in by_mode.items() for how in ('raw', 'tiff_lzw', 'tiff_adobe_deflate')
    }  # fmt: skip


def avif_files() -> Mapping[str, bytes]:
    """AVIF, which OpenCV doesn't read."""
    rgb = Image.fromarray(smooth())
    return {
        'avif': saved(rgb, 'AVIF'),
        'avif alpha': saved(rgb.convert('RGBA'), 'AVIF'),
        'avif animated': saved(rgb, 'AVIF', save_all=True, append_images=[rgb.rotate(180)]),
    }
