"""Which picture comes when, and which random numbers go with it.

Everything follows from (seed, epoch, position): the order of an epoch from the first two, a sample's own stream of
random numbers from all three. So a run repeats itself whatever the number of workers, resumes at any epoch, and ranks
differ because positions are counted over all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ORDER, SAMPLE, QUAD = range(3)  # purposes of a stream


class SampleKey(NamedTuple):
    """One sample of a run.

    Attributes:
        epoch: counted from 0.
        position: place in the epoch's order over all ranks.
        index: number of the picture.
    """

    epoch: int
    position: int
    index: int


def stream(seed: int, epoch: int, position: int = 0, purpose: int = SAMPLE) -> np.random.Generator:
    """The generator of random numbers for a sample (or another purpose)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, position], spawn_key=(purpose,))))


def epoch_order(n: int, seed: int, epoch: int, shuffle: bool = False, weights: np.ndarray | None = None) -> np.ndarray:
    """Picture numbers (n,) in the order of an epoch: rising, shuffled, or drawn with repetition by `weights` (n,)."""
    if weights is not None:
        return stream(seed, epoch, purpose=ORDER).choice(n, n, p=weights / weights.sum())
    return stream(seed, epoch, purpose=ORDER).permutation(n) if shuffle else np.arange(n)


def rank_batches(
    order: np.ndarray, epoch: int, batch_size: int, rank: int = 0, world_size: int = 1, whole: bool = False
) -> list[list[SampleKey]]:
    """The batches of one rank; all ranks have equally many, and samples from the start fill up what lacks.

    Batch k of all ranks together is batch k of a single process with `world_size` times the batch size, so that one
    process and several see the same pictures.

    Args:
        order: picture numbers (n,) of the epoch.
        batch_size: of each rank; the last batch may be smaller.
        whole: give each rank whole batches of the order, for pictures that are already sorted into batches.
    """
    if whole:
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        mine = range(rank, -(-len(batches) // world_size) * world_size, world_size)
        return [
            [SampleKey(epoch, k * batch_size + i, int(index)) for i, index in enumerate(batches[k % len(batches)])]
            for k in mine
        ]
    positions = range(rank, -(-len(order) // world_size) * world_size, world_size)
    keys = [SampleKey(epoch, position, int(order[position % len(order)])) for position in positions]
    return [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)]
