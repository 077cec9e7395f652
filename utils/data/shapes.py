"""The built-in data set: circles, squares, triangles and stars on untidy backgrounds, drawn the same every time.

A picture has several shapes of very different sizes, turned, foreshortened, shaded, covering one another and running
out of the picture, over gradients, blotches, noise, scribbles and thin outlines that are no shapes.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from utils.data.images import encode_image
from utils.errors import DataError
from utils.paths import atomic_folder, locked, read_yaml, write_file, write_yaml

NAMES = ('circle', 'square', 'triangle', 'star')
VERSION = 4  # of the drawing: to be raised when the same seed gives other pictures

_STREAMS = {'train': 0, 'val': 1, 'unseen': 2}  # of random numbers: no picture of one split occurs in another
_VISIBLE = 0.6  # share of a shape that must be seen; whatever would cover more is not drawn
_SMALLEST = 16  # pixels: least side of a label
_SUBPIXEL = 4  # bits after the point in OpenCV's drawing


def make_shapes(folder: str | Path, train: int = 960, val: int = 128, size: int = 320, seed: int = 0) -> Path:
    """Draw the data set into `folder`, whole or not at all; nothing is done if it is there already.

    The folder gets images/{train,val}, labels/{train,val} and a shapes.yaml. Processes that ask at the same time wait
    for the first.

    Args:
        train, val: numbers of pictures. The first n are the same whatever the number.
        size: width and height in pixels.
        seed: another one gives other pictures.

    Raises:
        DataError: the folder holds something else.
    """
    folder = Path(folder)
    made = {'version': VERSION, 'train': train, 'val': val, 'size': size, 'seed': seed}
    with locked(folder.parent):
        if _made_as(folder) == made:
            return folder
        if folder.is_dir() and any(folder.iterdir()) and not _made_as(folder):
            raise DataError(f'{folder}: there is something else in this folder', 'move it away')
        with atomic_folder(folder) as partial:
            for split, count in (('train', train), ('val', val)):
                _write_split(partial, split, count, size, seed)
            splits = {'train': 'images/train', 'val': 'images/val'}
            write_yaml(partial / 'shapes.yaml', {'path': '.', **splits, 'names': list(NAMES), 'made': made})
    return folder


def draw_unseen(folder: str | Path, n: int = 4, size: int = 320, seed: int = 0) -> list[Path]:
    """Write n pictures that are in no split, to try a detector on; their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'shapes_{i}.jpg' for i in range(n)]
    for i, path in enumerate(paths):
        write_file(path, _encoded(draw_picture(_random(seed, 'unseen', i), size)[0]))
    return paths


def _made_as(folder: Path) -> dict | None:
    """With which arguments the data set in a folder was drawn; None if there is none of ours."""
    file = folder / 'shapes.yaml'
    content = read_yaml(file, DataError) if file.is_file() else None
    return content.get('made') if isinstance(content, dict) else None


def _write_split(folder: Path, split: str, count: int, size: int, seed: int) -> None:
    images, labels = folder / 'images' / split, folder / 'labels' / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for i in range(count):
        image, rows = draw_picture(_random(seed, split, i), size)
        write_file(images / f'{i:05d}.jpg', _encoded(image))
        lines = (f'{int(row[0])} ' + ' '.join(f'{value:.6f}' for value in row[1:]) for row in rows)
        write_file(labels / f'{i:05d}.txt', ''.join(f'{line}\n' for line in lines))


def _encoded(image: np.ndarray) -> bytes:
    return encode_image(image, '.jpg', 'a drawn picture', (cv2.IMWRITE_JPEG_QUALITY, 92))


def _random(seed: int, split: str, i: int) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS[split], i])


# Drawing --------------------------------------------------------------------------------------------------------------


def draw_picture(rng: np.random.Generator, size: int = 320) -> tuple[np.ndarray, np.ndarray]:
    """One picture and its labels.

    Returns:
        (size, size, 3) uint8 BGR, and (n, 5) float32: class, then x, y, w, h (normalised) of what is seen of a shape.
    """
    image = _background(rng, size)
    _scribble(rng, image, int(rng.integers(4, 12)))
    owner = np.full((size, size), -1, np.int16)  # which shape each pixel shows
    areas, kinds, middle = [], [], rng.uniform(0, size, 2)
    for _ in range(int(rng.integers(3, 8))):
        kind = int(rng.integers(len(NAMES)))
        # Some crowd round the last one, so that they cover one another.
        middle = rng.normal(middle, size / 10) if rng.random() < 0.4 else rng.uniform(0, size, 2)
        outline = _outline(rng, kind, size, middle)
        mask, area = _mask(outline, size), cv2.contourArea(outline.astype(np.float32))
        if _fits(mask > 127, area, owner, areas):
            _paint(rng, image, outline, mask)
            owner[mask > 127] = len(areas)
            areas.append(area)
            kinds.append(kind)
    _scribble(rng, image, int(rng.integers(0, 3)))
    return _expose(rng, image), _labels(owner, kinds)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A gradient between two dull colours, with blotches of two sizes: (size, size, 3) uint8."""
    ends = (rng.uniform(40, 215) + rng.uniform(-40, 40, (2, 3))).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    ramp = np.clip(0.5 + 0.5 * (x * np.cos(angle) + y * np.sin(angle)), 0, 1)[..., None].astype(np.float32)
    image = ends[0] * ramp + ends[1] * (1 - ramp)
    for cells in (5, 24):
        blotches = rng.uniform(-1, 1, (cells, cells, 3)) * rng.uniform(3, 18)
        image += cv2.resize(blotches.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)  # OpenCV smooths lines in 8 bits only


def _scribble(rng: np.random.Generator, image: np.ndarray, count: int) -> None:
    """Thin lines, arcs and outlines of no particular shape, drawn in place."""
    size = len(image)
    for _ in range(count):
        colour = tuple(rng.uniform(20, 235, 3))
        thickness = int(rng.integers(1, 3))
        if rng.random() < 0.5:
            points = rng.uniform(-0.1, 1.1, (int(rng.integers(2, 5)), 2)) * size
            cv2.polylines(image, [points.astype(np.int32)], False, colour, thickness, cv2.LINE_AA)
        else:
            centre, axes = rng.integers(0, size, 2), rng.integers(size // 16, size // 3, 2)
            turn, start = rng.uniform(0, 360, 2)
            sweep = rng.uniform(60, 200)
            centre, axes = tuple(map(int, centre)), tuple(map(int, axes))
            cv2.ellipse(image, centre, axes, turn, start, start + sweep, colour, thickness, cv2.LINE_AA)


def _outline(rng: np.random.Generator, kind: int, size: int, middle: np.ndarray) -> np.ndarray:
    """A shape around a place, which is moved into the picture if it is outside: (points, 2) in pixels."""
    corners = {'circle': 60, 'square': 4, 'triangle': 3, 'star': 10}[NAMES[kind]]
    angles = np.arange(corners) * 2 * np.pi / corners
    radii = np.where(np.arange(corners) % 2, 0.45, 1.0) if NAMES[kind] == 'star' else np.ones(corners)
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
    points = _turn(points, rng.uniform(0, 2 * np.pi)) * [1, rng.uniform(0.85, 1)]  # foreshortened
    points = _turn(points, rng.uniform(0, 2 * np.pi))
    radius = size * np.exp(rng.uniform(np.log(0.08), np.log(0.25)))
    return points * radius + np.clip(middle, 0.08 * size, 0.92 * size)


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _mask(outline: np.ndarray, size: int) -> np.ndarray:
    """How much of each pixel is inside, (size, size) uint8."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, _SUBPIXEL)
    return mask


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * 2**_SUBPIXEL).astype(np.int32)


def _fits(inside: np.ndarray, area: float, owner: np.ndarray, areas: list[float]) -> bool:
    """Whether a new shape shows enough of itself and leaves enough of those it covers, no label being too small."""
    if inside.sum() < _VISIBLE * area or not _label_box(inside):
        return False
    covered = np.unique(owner[inside])
    left = [(owner == i) & ~inside for i in covered if i >= 0]
    wholes = [areas[i] for i in covered if i >= 0]
    return all(seen.sum() >= _VISIBLE * whole and _label_box(seen) for seen, whole in zip(left, wholes))


def _label_box(seen: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the pixels seen; None if that is too small for a label."""
    x, y, w, h = cv2.boundingRect(seen.astype(np.uint8))
    return (x, y, x + w, y + h) if min(w, h) >= _SMALLEST else None


def _paint(rng: np.random.Generator, image: np.ndarray, outline: np.ndarray, mask: np.ndarray) -> None:
    """Fill a shape with a shaded, perhaps striped colour that stands out, and perhaps an edge, in place."""
    left, top, width, height = cv2.boundingRect(mask)
    part, alpha = (array[top : top + height, left : left + width] for array in (image, mask))
    colour = _bright_colour(rng, part[alpha > 127].mean(0))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.ogrid[:height, :width]
    along = x * np.cos(angle) + y * np.sin(angle)  # pixels in the direction of the shading
    shade = 1 + along * rng.uniform(-0.2, 0.2) / max(width, height)
    if rng.random() < 0.3:
        shade *= np.where(np.sin(along * rng.uniform(0.25, 0.6)) > 0, 0.75, 1)
    alpha = alpha[..., None] / 255
    part[:] = np.clip(part * (1 - alpha) + colour * shade[..., None] * alpha, 0, 255)
    if rng.random() < 0.5:
        edge = (colour * rng.uniform(0.3, 0.7)).tolist()
        cv2.polylines(image, [_fixed(outline)], True, edge, int(rng.integers(1, 3)), cv2.LINE_AA, _SUBPIXEL)


def _bright_colour(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """A saturated BGR colour, the first of a few drawn that differs enough from what is behind, or the last."""
    for _ in range(10):
        hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.45, 1), rng.uniform(0.35, 1)]]], np.float32)
        colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255
        if np.abs(colour - behind).sum() > 150:
            break
    return colour


def _expose(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A camera's share: brightness, now and then some blur, and noise. uint8."""
    image = image * np.float32(rng.uniform(0.75, 1.15))
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.2))
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 7))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _labels(owner: np.ndarray, kinds: list[int]) -> np.ndarray:
    boxes = np.array([_label_box(owner == i) for i in range(len(kinds))], np.float32).reshape(-1, 4) / len(owner)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return np.column_stack([np.array(kinds, np.float32), centres, sides]).astype(np.float32)
