"""The three views of test-time augmentation, what is found in each, and how good the whole is."""

from __future__ import annotations

import numpy as np
import oneflow as torch

from docs.figures.pruning import SIZE, detector, evaluate
from docs.figures.style import BLUE, GREEN, ORANGE, box, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from models.surgery import scale_img
from utils.data.letterbox import letterbox
from utils.data.shapes import draw_picture
from utils.nms import non_max_suppression

PICTURES = 128  # the whole of the validation split, as val.py takes it
VIEWS = ((1.0, False, BLUE), (0.83, True, ORANGE), (0.67, False, GREEN))


def make() -> None:
    model = detector()
    picture, _ = draw_picture(np.random.Generator(np.random.PCG64(21)), 320)
    image = letterbox(np.ascontiguousarray(picture[..., ::-1]), SIZE, auto=False)[0]
    x = torch.tensor(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    figure, axes = canvas(1, 4, height=2.6)
    last, rows = picture_axes(axes[0, 3]), []
    last.imshow(image)
    with torch.no_grad():
        for axis, (scale, mirror, color) in zip(axes[0], VIEWS):
            view = scale_img(x.flip(3) if mirror else x, scale, gs=32)
            out = model(view)[0]
            found = non_max_suppression(out.numpy(), 0.25, 0.45)[0]
            picture_axes(axis).imshow(view[0].numpy().transpose(1, 2, 0))
            axis.set_title(f'{scale}{", flip" if mirror else ""}: {view.shape[2]}')
            for one in found:
                box(axis, one[:4], color)
                corners = one[:4] / scale
                if mirror:
                    corners[[0, 2]] = SIZE - corners[[2, 0]]
                box(last, corners, color)
            rows.append([f'{scale}', 'flip' if mirror else '', f'{view.shape[2]}', f'{out.shape[1]}'])
        joined = model(x, augment=True)[0].shape[1]
    last.set_title(f'{SIZE}')
    figure.tight_layout()
    save(figure, 'tta.png')
    scores = [
        evaluate([model], PICTURES, augment=augment, iou_thres=iou)[0]
        for iou in (0.6, 0.4)
        for augment in (False, True)
    ]
    names = ['—', '`--augment`', '`--iou-thres 0.4`', '`--augment --iou-thres 0.4`']
    write_numbers('tta', {
        'pictures': PICTURES, 'size': SIZE, 'views': rows, 'rows': joined, 'sum': sum(int(r[3]) for r in rows),
        'times': f'{sum(int(r[3]) for r in rows) / int(rows[0][3]):.1f}',
        'table': [[name, *(f'{v:.3f}' for v in s)] for name, s in zip(names, scores)],
    })  # fmt: skip
