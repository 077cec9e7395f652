"""Train a YOLOv5 detector.

    python train.py --data coco128.yaml --weights yolov5s.pt --img 640             # from a checkpoint
    python train.py --data coco128.yaml --weights '' --cfg yolov5n.yaml --img 640  # from scratch
    python train.py --resume                                                       # the latest run, where it stopped

`train` is the whole of it, read from the top: build, then per epoch train, evaluate, save.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from utils.device_choice import claim_device
from utils.distributed import is_main, world_size
from utils.errors import run_main
from utils.log import LOGGER, colorstr, set_logging
from utils.options import make_options, option, parse_options
from utils.peers import exchange, import_oneflow, share, together
from utils.train_setup import (
    Run,
    announce,
    build_loaders,
    build_model,
    build_optimizer,
    close,
    distribute,
    open_folder,
    start,
)

if TYPE_CHECKING:  # heavy rooms are entered when training starts, so that --help is quick
    from utils.callbacks import Callbacks
    from utils.checkpoint import Checkpoint


@dataclass
class TrainOptions:
    """What the command line and `run` take."""

    weights: str = option('yolov5s.pt', help="checkpoint to start from; '' trains from scratch")
    cfg: str = option('', help='model YAML, such as yolov5n.yaml; needed without --weights')
    data: Any = option('coco128.yaml', help='data set YAML')
    hyp: Any = option('hyp.scratch-low.yaml', help='hyper-parameter YAML')
    epochs: int = option(300, help='epochs to train')
    batch_size: int = option(16, help='batch size over all processes; -1 measures what fits the GPU')
    imgsz: int = option(640, '--imgsz', '--img', '--img-size', help='image size in pixels')
    rect: bool = option(False, help='rectangular batches without mosaic or shuffling')
    resume: str | bool = option(False, nargs='?', const=True, help='go on with the latest run, or that of a folder')
    nosave: bool = option(False, help='save the last epoch only')
    noval: bool = option(False, help='evaluate after the last epoch only')
    noautoanchor: bool = option(False, help='keep the anchors, whether they fit the labels or not')
    noplots: bool = option(False, help='draw no plots')
    evolve: int = option(
        None, nargs='?', const=300, type=int, help='evolve the hyper-parameters until there are so many generations'
    )
    cache: str = option(None, nargs='?', const='ram', choices=['ram', 'disk'], help='keep read pictures in ram or disk')
    image_weights: bool = option(False, help='draw pictures of badly found classes more often')
    device: str = option('', help='cpu or a GPU number such as 0; with as many processes several: 0,1')
    multi_scale: bool = option(False, help='vary the image size by +/- 50%%')
    single_cls: bool = option(False, help='treat all classes as one')
    optimizer: str = option('SGD', choices=['SGD', 'Adam', 'AdamW'], help='optimizer')
    sync_bn: bool = option(False, help='batch norm by the batches of all processes together')
    workers: int = option(8, help='loader processes at most, for each process')
    project: str = option('runs/train', help='folder of runs')
    name: str = option('exp', help='name of this run; a number is added if it is taken')
    exist_ok: bool = option(False, help='write into the folder of that name though it is there')
    quad: bool = option(False, help='batches of a quarter of the pictures at twice the size')
    cos_lr: bool = option(False, help='cosine learning rate schedule in place of the linear one')
    label_smoothing: float = option(0.0, help='label smoothing, 0.0 to 1.0')
    patience: int = option(100, help='epochs without improvement after which to stop; 0 never stops')
    freeze: list = option([0], nargs='+', type=int, help='layers not to train: 10 means the first ten; or name each')
    save_period: int = option(-1, help='keep a checkpoint every so many epochs')
    seed: int = option(0, help='seed of all random streams')
    bbox_iou_optim: bool = option(
        False, '--bbox_iou_optim', '--bbox-iou-optim', help="box loss by OneFlow's fused operators, despite --no-fused"
    )
    multi_tensor_optimizer: bool = option(
        False, '--multi_tensor_optimizer', '--multi-tensor-optimizer',
        help='update all weights, and their moving average, in one kernel each, despite --no-fused',
    )  # fmt: skip
    no_fused: bool = option(False, help="on a GPU, plain operations in place of OneFlow's fused ones")
    loggers: list = option(
        None, nargs='+', choices=['csv', 'tensorboard', 'wandb', 'clearml', 'comet'],
        help='where to log besides results.csv; by default tensorboard and what the environment asks for',
    )  # fmt: skip
    local_rank: int = option(
        -1, '--local_rank', '--local-rank', help='ignored: the launcher tells it through the environment'
    )


def train(opt: TrainOptions, callbacks: Callbacks | None = None, checkpoint: Checkpoint | None = None) -> tuple:
    """Train, and return P, R, mAP50, mAP50-95 and the three losses of the best checkpoint's evaluation.

    Args:
        checkpoint: of a run to be resumed, whose options `opt` are.

    Raises:
        UserError: anything the user can mend: options, files, labels, memory, a loss that is no number.
        KeyboardInterrupt: Ctrl-C, or as its subclass `Terminated` SIGTERM; the text says how to go on.
    """
    from utils.train_state import interruptible, restore

    run = start(opt, callbacks, checkpoint)
    try:
        build_model(run)
        build_loaders(run)
        build_optimizer(run)
        if run.checkpoint:
            restore(run)
        distribute(run)
        with interruptible(run):
            open_folder(run)  # all input has been read, so that bad input leaves no folder behind
            announce(run)
            train_epochs(run)
            return finish(run)
    finally:
        close(run)


def train_epochs(run: Run) -> None:
    """Train, evaluate and save until the last epoch or an early stop."""
    began = time.time()
    epochs = range(run.start_epoch, 0 if run.over else run.opt.epochs)
    for run.epoch in epochs:
        train_epoch(run)
        evaluate_epoch(run)
        if end_epoch(run):
            break
    done = run.epoch + 1 - run.start_epoch
    LOGGER.info(f'\n{done} epochs completed in {(time.time() - began) / 3600:.3f} hours.')


def train_epoch(run: Run) -> None:
    """One pass over the training pictures."""
    from utils.data.labels import labels_to_image_weights
    from utils.device import free_cached_memory
    from utils.plots import plot_images
    from utils.progress import TrainProgress

    run.callbacks.run('on_train_epoch_start')
    free_cached_memory(run.device)
    run.model.train()
    if run.opt.image_weights:
        weights = run.model.class_weights * (1 - run.maps) ** 2 / run.nc  # rare and badly found classes count more
        run.train_loader.weights = labels_to_image_weights(run.dataset.labels, run.nc, weights)
    run.train_loader.set_epoch(run.epoch)
    run.optimizer.zero_grad()  # what an unfinished accumulation left over is dropped
    with TrainProgress(run.train_loader, run.epoch, run.opt.epochs, run.device) as progress:
        for i, (images, targets, paths, _) in enumerate(progress):
            run.callbacks.run('on_train_batch_start')
            iteration = i + len(run.train_loader) * run.epoch
            images, items = train_batch(run, images, targets, iteration)
            progress.update(items, len(targets), images.shape[-1], paths)
            if iteration < 3 and is_main() and not run.opt.noplots:
                plot_images(images, targets, paths, run.folder / f'train_batch{iteration}.jpg', run.names)
            run.callbacks.run('on_train_batch_end', run.model, iteration, images, targets, paths)
        every = exchange(progress.mean_losses())  # the bar shows those of process 0
    run.losses = tuple(sum(values) / len(every) for values in zip(*every))
    run.callbacks.run('on_train_epoch_end', epoch=run.epoch)


def train_batch(run: Run, images: Any, targets: Any, iteration: int) -> tuple[Any, Any]:
    """Forward, backward, and the optimiser's step when it is due.

    Args:
        images: (batch, 3, height, width) uint8 RGB, on the host.
        targets: (n, 6) image, class, x, y, w, h, normalised, on the host.
        iteration: batches trained since the start of the run.

    Returns:
        The images as trained on (float, 0 to 1, on the device) and the loss parts (3,), still on the device.
    """
    from utils.device import to_input
    from utils.imgsz import grid_size, rescale
    from utils.optim import clipped_step

    run.schedule.before_batch(run.epoch, iteration)
    images = to_input(images, run.device)
    if run.opt.multi_scale:
        images = rescale(images, run.imgsz, grid_size(run.model), (run.opt.seed, iteration))
    loss, items = run.compute_loss(run.model(images), targets)
    # Gradients of several processes are averaged, but count like one batch; four pictures make one of --quad.
    scale = world_size() * (4 if run.opt.quad else 1)
    (loss * scale if scale > 1 else loss).backward()
    if run.schedule.step_due(iteration):
        run.callbacks.run('on_before_zero_grad')
        clipped_step(run.optimizer, run.model, buffers=run.gradients)
        if is_main():
            run.ema.update(run.model)
        run.callbacks.run('optimizer_step')
    return images, items


def evaluate_epoch(run: Run) -> None:
    """Measure the averaged weights on the validation split, unless --noval leaves that to the last epoch.

    Process 0 does it, and tells the others what it found.
    """
    import numpy as np

    import val
    from utils.device import free_cached_memory

    free_cached_memory(run.device)
    if is_main():
        run.ema.update_attr(run.model, include=['yaml', 'hyp', 'names', 'class_weights'])
        if not run.opt.noval or is_final(run):
            run.results, run.maps, _ = val.run(
                data=run.data, model=run.ema.ema, dataloader=run.val_loader, imgsz=run.imgsz,
                single_cls=run.opt.single_cls, batch_size=2 * run.batch_size, save_dir=run.folder, plots=False,
                callbacks=run.callbacks, compute_loss=run.val_loss,
            )  # fmt: skip
    results, maps = share([list(map(float, run.results)), list(map(float, run.maps))])
    if not is_main():
        run.results, run.maps = tuple(results), np.array(maps)


def is_final(run: Run) -> bool:
    """Whether this epoch is, or may be, the last."""
    return run.epoch + 1 == run.opt.epochs or run.stopper.possible_stop or run.callbacks.stop_training


def end_epoch(run: Run) -> bool:
    """Judge, log and save the epoch; returns whether training should stop."""
    from utils.metrics import fitness

    fit = fitness(run.results[:4])
    stop = run.stopper(run.epoch, fit)
    if fit == run.stopper.best_fitness:
        run.best_results = (run.epoch, *run.results[:4])
    values = [*run.losses, *run.results, *run.schedule.rates()]
    run.callbacks.run('on_fit_epoch_end', values, run.epoch, run.stopper.best_fitness, fit)
    if not run.opt.nosave or stop or is_final(run):
        save(run, fit)
    return share(stop or run.callbacks.stop_training)


def save(run: Run, fit: float) -> None:
    """Write best if it is, every --save-period epochs one to keep, and last.

    The order is for a kill in between: a run resumed from the last before would only write the best again.
    """
    best = fit == run.stopper.best_fitness
    if is_main():
        write_checkpoints(run, fit, best)
    run.best_saved = run.best_saved or best
    run.resumable = True


def write_checkpoints(run: Run, fit: float, best: bool) -> None:
    from utils.checkpoint import save_checkpoint
    from utils.train_state import check_finite, to_checkpoint

    checkpoint = to_checkpoint(run)
    check_finite(checkpoint, run.last)
    if best:
        save_checkpoint(run.best, checkpoint)
    if run.opt.save_period > 0 and run.epoch % run.opt.save_period == 0:
        save_checkpoint(run.folder / 'weights' / f'epoch{run.epoch}.safetensors', checkpoint)
    run.resumable = True  # an interrupt may come as soon as the file is in its place
    save_checkpoint(run.last, checkpoint)
    run.callbacks.run('on_model_save', run.last, run.epoch, is_final(run), run.stopper.best_fitness, fit)


def finish(run: Run) -> tuple:
    """Let process 0 finish the run; P, R, mAP50, mAP50-95 and the losses of its last evaluation."""
    if is_main():
        evaluate_best(run)
    return tuple(share(list(map(float, run.results))))


def evaluate_best(run: Run) -> None:
    """Evaluate the best checkpoint in full, draw the results, strip the checkpoints to what inference needs.

    Stripped last, so that an interrupt before that leaves a run which --resume can finish.
    """
    import val
    from utils.checkpoint import attempt_load, strip_optimizer
    from utils.coco import is_coco
    from utils.device import free_cached_memory
    from utils.plots import plot_results

    if run.best_saved:  # not just there: with --exist-ok it may be an older run's
        LOGGER.info(f'\nValidating {run.best}...')
        free_cached_memory(run.device)
        coco = is_coco(run.data)
        run.results, _, _ = val.run(
            data=run.data, model=attempt_load(run.best, run.device), dataloader=run.val_loader, imgsz=run.imgsz,
            batch_size=2 * run.batch_size, iou_thres=0.65 if coco else 0.60, single_cls=run.opt.single_cls,
            save_dir=run.folder, save_json=coco, verbose=True, plots=not run.opt.noplots, callbacks=run.callbacks,
            compute_loss=run.val_loss,
        )  # fmt: skip
    if not run.opt.noplots:
        plot_results(run.folder / 'results.csv')
    run.resumable = False
    for path in (run.best, run.last) if run.best_saved else (run.last,):
        strip_optimizer(path)
    run.callbacks.run('on_train_end', run.last, run.best, run.epoch, run.results)
    LOGGER.info(f'Results saved to {colorstr("bold", str(run.folder))}')


def start_training(opt: TrainOptions, callbacks: Callbacks | None = None, command: bool = False) -> tuple:
    """Train once, or with --evolve once a generation; returns the results of the best.

    Args:
        command: this process is for training alone, so that it may hide other GPUs from itself.
    """
    from utils.train_state import reopen

    opt, checkpoint = reopen(opt) if opt.resume and opt.evolve is None else (opt, None)
    if command or world_size() > 1:
        claim_device(opt.device)
    import_oneflow()
    if opt.evolve is None:
        return train(opt, callbacks, checkpoint)
    from utils.evolve import evolve

    return evolve(opt, train, callbacks)


def run(callbacks: Callbacks | None = None, **options: Any) -> tuple:
    """Train from Python: `train.run(data='coco128.yaml', imgsz=320, weights='yolov5m.pt')`."""
    set_logging(is_main())
    with together():
        return start_training(make_options(TrainOptions, **options), callbacks)


def main(argv: list[str] | None = None) -> None:
    set_logging(is_main())
    with together():
        start_training(parse_options(TrainOptions, argv, 'Train a YOLOv5 detector', 'train.py'), command=True)


if __name__ == '__main__':
    sys.exit(run_main(main))
