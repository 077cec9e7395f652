"""Train a YOLOv5 detector.

    python train.py --data coco128.yaml --weights yolov5s.pt --img 640             # from a checkpoint
    python train.py --data coco128.yaml --weights '' --cfg yolov5n.yaml --img 640  # from scratch
    python train.py --resume                                                       # the latest run, where it stopped

`train` is the whole of it, read from the top: build, then per epoch train, evaluate, save.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.distributed import world_size
from utils.errors import UsageError, run_main
from utils.log import LOGGER, colorstr, set_logging
from utils.options import describe_options, make_options, option, parse_options
from utils.paths import increment_path, write_yaml

if TYPE_CHECKING:  # heavy rooms are entered when training starts, so that --help is quick
    from utils.callbacks import Callbacks
    from utils.data.yaml import DataConfig


@dataclass
class TrainOptions:
    """What the command line and `run` take."""

    weights: str = option('yolov5s.pt', help="checkpoint to start from; '' trains from scratch")
    cfg: str = option('', help='model YAML, such as yolov5n.yaml; needed without --weights')
    data: str = option('coco128.yaml', help='data set YAML')
    hyp: str = option('hyp.scratch-low.yaml', help='hyper-parameter YAML')
    epochs: int = option(300, help='epochs to train')
    batch_size: int = option(16, help='batch size; -1 measures what fits the GPU')
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
    device: str = option('', help='cpu or a GPU number such as 0')
    multi_scale: bool = option(False, help='vary the image size by +/- 50%%')
    single_cls: bool = option(False, help='treat all classes as one')
    optimizer: str = option('SGD', choices=['SGD', 'Adam', 'AdamW'], help='optimizer')
    workers: int = option(8, help='loader processes at most')
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
    loggers: list = option(
        None, nargs='+', choices=['csv', 'tensorboard', 'wandb', 'clearml', 'comet'],
        help='where to log besides results.csv; by default tensorboard and what the environment asks for',
    )  # fmt: skip
    local_rank: int = option(
        -1, '--local_rank', '--local-rank', help='ignored: the launcher tells it through the environment'
    )


@dataclass
class Run:
    """All that a training run holds."""

    opt: TrainOptions
    device: Any
    hyp: dict[str, float]
    data: DataConfig
    callbacks: Callbacks
    checkpoint: Any = None  # of the run to be resumed
    folder: Path = Path()
    names: list[str] = field(default_factory=list)
    model: Any = None
    imgsz: int = 0
    train_loader: Any = None
    dataset: Any = None
    val_loader: Any = None
    optimizer: Any = None
    schedule: Any = None
    ema: Any = None
    stopper: Any = None
    compute_loss: Any = None
    maps: Any = None  # mAP50-95 by class, for --image-weights
    losses: tuple = (0.0,) * 3  # the epoch's mean box, objectness and class loss
    results: tuple = (0.0,) * 7  # P, R, mAP50, mAP50-95, box, objectness and class loss of the last evaluation
    best_results: tuple = ()  # epoch, P, R, mAP50 and mAP50-95 of the best evaluation
    epoch: int = 0
    start_epoch: int = 0
    over: bool = False  # resumed after the epoch that was the last one
    resumable: bool = False  # last is there and not yet stripped
    best_saved: bool = False  # best is there and this run's

    @property
    def nc(self) -> int:
        return len(self.names)

    @property
    def last(self) -> Path:
        return self.folder / 'weights' / 'last.safetensors'

    @property
    def best(self) -> Path:
        return self.folder / 'weights' / 'best.safetensors'


def train(opt: TrainOptions, callbacks: Callbacks | None = None) -> tuple:
    """Train, and return P, R, mAP50, mAP50-95 and the three losses of the best checkpoint's evaluation.

    Raises:
        UserError: anything the user can mend: options, files, labels, memory, a loss that is no number.
        KeyboardInterrupt: Ctrl-C, or as its subclass `Terminated` SIGTERM; the text says how to go on.
    """
    from utils.train_state import interruptible, restore

    run = start(opt, callbacks)
    try:
        build_model(run)
        build_loaders(run)
        build_optimizer(run)
        if run.checkpoint:
            restore(run)
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


def start(opt: TrainOptions, callbacks: Callbacks | None) -> Run:
    """Check the options, read the data set and hyper-parameter files, seed the random generators.

    To resume a run, its options and hyper-parameters come from its checkpoint.
    """
    from utils.callbacks import Callbacks
    from utils.data.yaml import load_data
    from utils.device import describe_device, init_seeds, select_device
    from utils.hyps import load_hyp

    checkpoint = None
    if opt.resume:
        from utils.train_state import reopen

        opt, checkpoint = reopen(opt)
    check_options(opt)
    LOGGER.info(colorstr('train: ') + describe_options(opt))
    device = select_device(opt.device, opt.batch_size)
    LOGGER.info(describe_device(device))
    hyp = checkpoint.hyp if checkpoint else load_hyp(opt.hyp) | {'label_smoothing': opt.label_smoothing}
    data = load_data(opt.data)
    init_seeds(opt.seed)
    run = Run(opt, device, hyp, data, callbacks or Callbacks(), checkpoint)
    run.names = ['item'] if opt.single_cls and data.nc != 1 else list(data.names)
    LOGGER.info(colorstr('hyperparameters: ') + ', '.join(f'{k}={v}' for k, v in hyp.items()))
    run.callbacks.run('on_pretrain_routine_start')
    return run


def check_options(opt: TrainOptions) -> None:
    """Refuse what can't work before anything is read or written; paths become text, as files store them."""
    from utils.loggers.choice import check_loggers

    for name in ('weights', 'cfg', 'data', 'hyp', 'project', 'name'):
        value = getattr(opt, name)
        setattr(opt, name, str(value).strip() if isinstance(value, (str, Path)) else value)
    if not opt.weights and not opt.cfg:
        raise UsageError(
            '--weights and --cfg are both empty', 'give a checkpoint or a model YAML, such as yolov5n.yaml'
        )
    for name, least in {'epochs': 1, 'batch_size': 1, 'imgsz': 1, 'workers': 0, 'patience': 0, 'seed': 0}.items():
        if getattr(opt, name) < least and (name, getattr(opt, name)) != ('batch_size', -1):
            raise UsageError(
                f'--{name.replace("_", "-")} {getattr(opt, name)}: too small', f'it has to be {least} or more'
            )
    if not 0 <= opt.label_smoothing < 1:
        raise UsageError(f'--label-smoothing {opt.label_smoothing}: out of range', 'it has to lie in 0 to 1')
    check_loggers(opt.loggers)


def build_model(run: Run) -> None:
    """The network on its device, with the checkpoint's weights where they fit, and frozen layers."""
    from models.summary import layer_table
    from models.yolo import Model
    from utils.checkpoint import intersect_dicts, load_checkpoint, load_state
    from utils.downloads import attempt_download
    from utils.optim import freeze
    from utils.train_state import trained_model

    opt = run.opt
    # Their number makes placeholders that AutoAnchor replaces; 0, or no AutoAnchor: the model's own.
    anchors = None if opt.noautoanchor else run.hyp.get('anchors') or None
    if run.checkpoint:
        run.model = trained_model(run)
    elif opt.weights:
        checkpoint = load_checkpoint(attempt_download(opt.weights))
        run.model = Model(opt.cfg or checkpoint.config, ch=3, nc=run.nc, anchors=anchors)
        run.model.yaml_file = run.model.yaml_file or checkpoint.config_name
        exclude = ('anchor',) if opt.cfg or anchors else ()
        state = intersect_dicts(checkpoint.state, run.model.state_dict(), exclude=exclude)
        load_state(run.model, state, opt.weights, strict=False)
        LOGGER.info(f'Transferred {len(state)}/{len(run.model.state_dict())} items from {opt.weights}')
    else:
        run.model = Model(opt.cfg, ch=3, nc=run.nc, anchors=anchors)
    run.model.to(run.device)
    run.model.names = run.names
    LOGGER.info(f'\n{layer_table(run.model)}\n{run.model.info()}\n')
    freeze(run.model, opt.freeze)


def build_loaders(run: Run) -> None:
    """The training and validation loaders, the labels checked, the anchors fitted to them."""
    from utils.anchors import check_anchors
    from utils.autobatch import check_train_batch_size
    from utils.data.labels import labels_to_class_weights
    from utils.data.loader import create_dataloader
    from utils.imgsz import check_img_size, grid_size

    opt, stride = run.opt, grid_size(run.model)
    run.imgsz = check_img_size(opt.imgsz, stride, floor=stride * 2)
    if opt.batch_size == -1:
        opt.batch_size = check_train_batch_size(run.model, run.imgsz)
    common = {'stride': stride, 'single_cls': opt.single_cls, 'hyp': run.hyp, 'seed': opt.seed, 'nc': run.nc}
    run.train_loader, run.dataset = create_dataloader(
        run.data.train, run.imgsz, opt.batch_size, augment=True, cache=opt.cache, rect=opt.rect,
        image_weights=opt.image_weights, quad=opt.quad, workers=opt.workers, shuffle=True, prefix='train: ', **common,
    )  # fmt: skip
    run.val_loader, _ = create_dataloader(
        run.data.val, run.imgsz, opt.batch_size * 2, cache=None if opt.noval else opt.cache, rect=True, pad=0.5,
        workers=opt.workers * 2, prefix='val: ', **common,
    )  # fmt: skip
    if not (opt.noautoanchor or run.checkpoint):
        check_anchors(run.dataset, run.model, thr=run.hyp['anchor_t'], imgsz=run.imgsz)
    run.model.class_weights = labels_to_class_weights(run.dataset.labels, run.nc) * run.nc


def build_optimizer(run: Run) -> None:
    """Optimiser, schedule, average of the weights, early stop, and the loss with its gains."""
    import numpy as np

    from utils.ema import ModelEMA
    from utils.loss import ComputeLoss
    from utils.optim import scale_gains, scaled_weight_decay, smart_optimizer
    from utils.schedule import EarlyStopping, Schedule

    opt, hyp = run.opt, run.hyp
    decay = scaled_weight_decay(hyp['weight_decay'], opt.batch_size)
    run.optimizer = smart_optimizer(run.model, opt.optimizer, hyp['lr0'], hyp['momentum'], decay)
    run.schedule = Schedule(run.optimizer, hyp, opt.epochs, len(run.train_loader), opt.batch_size, opt.cos_lr)
    run.ema = ModelEMA(run.model)
    run.stopper = EarlyStopping(opt.patience)
    run.model.hyp = scale_gains(hyp, run.model.detect.nl, run.nc, run.imgsz)
    run.compute_loss = ComputeLoss(run.model)
    run.maps = np.zeros(run.nc)


def open_folder(run: Run) -> None:
    """Make the run's folder and write what is known of the run: options, hyper-parameters, the labels drawn.

    A resumed run has all of that.
    """
    import numpy as np

    from utils.loggers import Loggers
    from utils.plots import plot_labels

    resumed = run.start_epoch > 0
    if not resumed:
        run.folder = increment_path(Path(run.opt.project) / run.opt.name, run.opt.exist_ok, mkdir=True)
        (run.folder / 'weights').mkdir(exist_ok=True)
        write_yaml(run.folder / 'hyp.yaml', run.hyp)
        write_yaml(run.folder / 'opt.yaml', asdict(run.opt) | {'save_dir': str(run.folder)})
    run.callbacks.register_all(Loggers(run.folder, run.opt.loggers, run.best_results, run.start_epoch))
    run.callbacks.run('on_params_update', asdict(run.opt) | run.hyp)
    if not (run.opt.noplots or resumed):
        plot_labels(np.concatenate(run.dataset.labels), run.names, run.folder)
    run.callbacks.run('on_pretrain_routine_end')


def announce(run: Run) -> None:
    """The last lines before the first epoch."""
    run.callbacks.run('on_train_start')
    LOGGER.info(
        f'Image sizes {run.imgsz} train, {run.imgsz} val\n'
        f'Using {run.train_loader.workers} loader processes\n'
        f'Logging results to {colorstr("bold", str(run.folder))}\n'
        f'Starting training for {run.opt.epochs} epochs...'
    )


def train_epoch(run: Run) -> None:
    """One pass over the training pictures."""
    from utils.data.labels import labels_to_image_weights
    from utils.plots import plot_images
    from utils.progress import TrainProgress

    run.callbacks.run('on_train_epoch_start')
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
            if iteration < 3 and not run.opt.noplots:
                plot_images(images, targets, paths, run.folder / f'train_batch{iteration}.jpg', run.names)
            run.callbacks.run('on_train_batch_end', run.model, iteration, images, targets, paths)
        run.losses = progress.mean_losses()
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
    (loss * 4 if run.opt.quad else loss).backward()
    if run.schedule.step_due(iteration):
        run.callbacks.run('on_before_zero_grad')
        clipped_step(run.optimizer, run.model)
        run.ema.update(run.model)
        run.callbacks.run('optimizer_step')
    return images, items


def evaluate_epoch(run: Run) -> None:
    """Measure the averaged weights on the validation split, unless --noval leaves that to the last epoch."""
    import val

    run.ema.update_attr(run.model, include=['yaml', 'hyp', 'names', 'class_weights'])
    if run.opt.noval and not is_final(run):
        return
    run.results, run.maps, _ = val.run(
        data=run.data, model=run.ema.ema, dataloader=run.val_loader, imgsz=run.imgsz, single_cls=run.opt.single_cls,
        batch_size=run.opt.batch_size * 2, save_dir=run.folder, plots=False, callbacks=run.callbacks,
        compute_loss=run.compute_loss,
    )  # fmt: skip


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
    return stop or run.callbacks.stop_training


def save(run: Run, fit: float) -> None:
    """Write best if it is, every --save-period epochs one to keep, and last.

    The order is for a kill in between: a run resumed from the last before would only write the best again.
    """
    from utils.checkpoint import save_checkpoint
    from utils.train_state import check_finite, to_checkpoint

    checkpoint = to_checkpoint(run)
    check_finite(checkpoint, run.last)
    if fit == run.stopper.best_fitness:
        save_checkpoint(run.best, checkpoint)
        run.best_saved = True
    if run.opt.save_period > 0 and run.epoch % run.opt.save_period == 0:
        save_checkpoint(run.folder / 'weights' / f'epoch{run.epoch}.safetensors', checkpoint)
    save_checkpoint(run.last, checkpoint)
    run.resumable = True
    run.callbacks.run('on_model_save', run.last, run.epoch, is_final(run), run.stopper.best_fitness, fit)


def finish(run: Run) -> tuple:
    """Evaluate the best checkpoint in full, draw the results, strip the checkpoints to what inference needs.

    Stripped last, so that an interrupt before that leaves a run which --resume can finish.
    """
    import val
    from utils.checkpoint import attempt_load, strip_optimizer
    from utils.coco import is_coco
    from utils.plots import plot_results

    if run.best_saved:  # not just there: with --exist-ok it may be an older run's
        LOGGER.info(f'\nValidating {run.best}...')
        coco = is_coco(run.data)
        run.results, _, _ = val.run(
            data=run.data, model=attempt_load(run.best, run.device), dataloader=run.val_loader, imgsz=run.imgsz,
            batch_size=run.opt.batch_size * 2, iou_thres=0.65 if coco else 0.60, single_cls=run.opt.single_cls,
            save_dir=run.folder, save_json=coco, verbose=True, plots=not run.opt.noplots, callbacks=run.callbacks,
            compute_loss=run.compute_loss,
        )  # fmt: skip
    if not run.opt.noplots:
        plot_results(run.folder / 'results.csv')
    run.resumable = False
    for path in (run.best, run.last) if run.best_saved else (run.last,):
        strip_optimizer(path)
    run.callbacks.run('on_train_end', run.last, run.best, run.epoch, run.results)
    LOGGER.info(f'Results saved to {colorstr("bold", str(run.folder))}')
    return run.results


def close(run: Run) -> None:
    """End the loaders' processes and close the loggers' files, however the run ended."""
    for loader in (run.train_loader, run.val_loader):
        if loader is not None:
            loader.close()
    run.callbacks.run('teardown')


def start_training(opt: TrainOptions, callbacks: Callbacks | None = None) -> tuple:
    """Train once, or with --evolve once a generation; returns the results of the best."""
    if world_size() > 1:
        raise UsageError(f'{world_size()} processes: only one can train so far', 'start without the launcher')
    if opt.evolve is None:
        return train(opt, callbacks)
    from utils.evolve import evolve

    return evolve(opt, train, callbacks)


def run(callbacks: Callbacks | None = None, **options: Any) -> tuple:
    """Train from Python: `train.run(data='coco128.yaml', imgsz=320, weights='yolov5m.pt')`."""
    set_logging()
    return start_training(make_options(TrainOptions, **options), callbacks)


def main(argv: list[str] | None = None) -> None:
    set_logging()
    start_training(parse_options(TrainOptions, argv, 'Train a YOLOv5 detector', 'train.py'))


if __name__ == '__main__':
    sys.exit(run_main(main))
