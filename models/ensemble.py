"""Several detection models as one."""

from __future__ import annotations

from collections.abc import Iterable

import oneflow as torch
from oneflow import nn

from models.yolo import Model, Observer
from utils.errors import WeightsError


class Ensemble(nn.ModuleList):
    """Models whose boxes are put side by side for one non-maximum suppression.

    Raises:
        WeightsError: the models do not have the same classes.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        super().__init__(list(models))
        for i, model in enumerate(self):
            if list(model.names) != list(self[0].names):
                raise WeightsError(
                    f'Ensemble: model {i} has the {len(model.names)} classes {list(model.names)[:3]}..., the first '
                    f'{len(self[0].names)}: {list(self[0].names)[:3]}...',
                    'join only models of one data set',
                )

    def forward(
        self, x: torch.Tensor, augment: bool = False, profile: bool = False, visualize: Observer | None = None
    ) -> tuple[torch.Tensor, None]:
        """Pictures (b, 3, h, w) -> (boxes (b, rows of all models, 5 + nc), None); arguments as for `Model`."""
        return torch.cat([model(x, augment, profile, visualize)[0] for model in self], 1), None

    def fuse(self) -> Ensemble:
        """See `Model.fuse`."""
        for model in self:
            model.fuse()
        return self

    @property
    def names(self) -> list[str]:
        return self[0].names

    @property
    def nc(self) -> int:
        return self[0].nc

    @property
    def yaml(self) -> dict:
        """The first model's description."""
        return self[0].yaml

    @property
    def stride(self) -> torch.Tensor:
        """The strides of the model with the largest."""
        return max((model.stride for model in self), key=lambda stride: float(stride.max()))

    @property
    def largest_stride(self) -> int:
        return max(model.largest_stride for model in self)
