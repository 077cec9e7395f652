"""What a training run is made of, and its making: data, model, loaders, optimiser, processes, folder.

`train.py` calls these in the order in which they stand here.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.class_names import difference, reordered
from utils.distributed import is_main, local_world_size, rank, world_size
from utils.errors import UsageError, check_range
from utils.log import LOGGER, colorstr
from utils.options import describe_options
from utils.paths import increment_path, write_yaml
from utils.peers import in_turn, share

if TYPE_CHECKING:  # heavy rooms are entered when training starts, so that --help is quick
    from utils.callbacks import Callbacks
    from utils.checkpoint import Checkpoint
    from utils.data.yaml import DataConfig


@dataclass
class Run:
    """All that a training run holds."""

    opt: Any  # train.TrainOptions
    device: Any
    hyp: dict[str, float]
    data: DataConfig
    callbacks: Callbacks
    loggers: Any = None  # of this run, among the callbacks until it ends
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
    gradients: list | None = None  # the buffers that they lie in, on a GPU
    ema: Any = None  # of process 0 alone, which evaluates and saves it
    stopper: Any = None
    compute_loss: Any = None  # of the batches of all processes
    val_loss: Any = None  # of this process's alone
    maps: Any = None  # mAP50-95 by class, for --image-weights
    losses: tuple = (0.0,) * 3  # the epoch's mean box, objectness and class loss
    results: tuple = (0.0,) * 7  # P, R, mAP50, mAP50-95, box, objectness and class loss of the last evaluation
    best_results: tuple = ()  # epoch, P, R, mAP50 and mAP50-95 of the best evaluation
    epoch: int = 0
    start_epoch: int = 0
    over: bool = False  # resumed after the epoch that was the last one
    resumable: bool = False  # last is written, or is being written, and not yet stripped
    other_last: Any = None  # what another run left in its place, see `utils.train_state.file_identity`
    best_saved: bool = False  # best is there and this run's

    @property
    def nc(self) -> int:
        return len(self.names)

    @property
    def batch_size(self) -> int:
        """Of one process; without gradients twice as many fit."""
        return self.opt.batch_size // world_size()

    @property
    def fuses(self) -> bool:
        """Whether OneFlow's fused operators are tried: on a GPU, unless --no-fused."""
        return self.device.type == 'cuda' and not self.opt.no_fused

    @property
    def last(self) -> Path:
        return self.folder / 'weights' / 'last.safetensors'

    @property
    def best(self) -> Path:
        return self.folder / 'weights' / 'best.safetensors'


def start(opt: Any, callbacks: Callbacks | None, checkpoint: Checkpoint | None = None) -> Run:
    """Check the options, read the data set and hyper-parameter files, seed the random generators.

    Args:
        checkpoint: of a run to be resumed, whose options `opt` are; its hyper-parameters count, too.
    """
    from utils.callbacks import Callbacks
    from utils.data.yaml import load_data
    from utils.device import describe_device, init_seeds, select_device
    from utils.hyps import load_hyp

    check_options(opt)
    LOGGER.info(colorstr('train: ') + describe_options(opt))
    device = select_device(opt.device, opt.batch_size)
    LOGGER.info(describe_device(device))
    hyp = checkpoint.hyp if checkpoint else load_hyp(opt.hyp) | {'label_smoothing': opt.label_smoothing}
    with in_turn():
        data = load_data(opt.data)
    init_seeds(opt.seed + rank())
    callbacks = callbacks if callbacks and is_main() else Callbacks()  # process 0 alone logs
    callbacks.stop_training = False  # an earlier training's
    run = Run(opt, device, hyp, data, callbacks, checkpoint=checkpoint)
    run.names = ['item'] if opt.single_cls and data.nc != 1 else list(data.names)
    LOGGER.info(colorstr('hyperparameters: ') + ', '.join(f'{k}={v}' for k, v in hyp.items()))
    run.callbacks.run('on_pretrain_routine_start')
    return run


def check_options(opt: Any) -> None:
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
        if (name, getattr(opt, name)) != ('batch_size', -1):
            check_range(name, getattr(opt, name), least)
    check_range('label_smoothing', opt.label_smoothing, 0, 1)
    check_loggers(opt.loggers)
    if world_size() > 1 and opt.batch_size == -1:
        raise UsageError('--batch-size -1: can be measured by one process only', 'give the size over all processes')


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
        with in_turn():
            file = attempt_download(opt.weights)
        checkpoint = load_checkpoint(file)
        run.model = Model(opt.cfg or checkpoint.config, ch=3, nc=run.nc, anchors=anchors)
        run.model.yaml_file = run.model.yaml_file or checkpoint.config_name
        exclude = ('anchor',) if opt.cfg or anchors else ()
        if reordered(run.names, checkpoint.names):  # other names of as many classes are the usual fine-tuning
            other = difference(run.names, checkpoint.names)
            place = f'{run.data.file or "data set"} and {opt.weights}'
            LOGGER.warning(f'WARNING: {place}: {other}; the head starts with the wrong classes')
        state = intersect_dicts(checkpoint.state, run.model.state_dict(), exclude=exclude)
        load_state(run.model, state, opt.weights, strict=False)
        LOGGER.info(f'Transferred {len(state)}/{len(run.model.state_dict())} items from {opt.weights}')
    else:
        run.model = Model(opt.cfg, ch=3, nc=run.nc, anchors=anchors)
    run.model.to(run.device)
    run.model.names = run.names
    LOGGER.info(f'\n{layer_table(run.model)}\n{run.model.info()}\n')
    freeze(run.model, opt.freeze)
    if not any(parameter.requires_grad for parameter in run.model.parameters()):
        raise UsageError(f'--freeze {" ".join(map(str, opt.freeze))}: leaves nothing to train', 'freeze fewer layers')


def build_loaders(run: Run) -> None:
    """The training and validation loaders, the labels checked, the anchors fitted to them.

    Every process trains on its part of each epoch; process 0 alone evaluates and fits anchors.
    """
    from utils.autobatch import autobatch
    from utils.data.labels import labels_to_class_weights, read_labels
    from utils.data.loader import create_dataloader
    from utils.imgsz import check_img_size, grid_size
    from utils.memory import check_memory

    opt, stride = run.opt, grid_size(run.model)
    run.imgsz = check_img_size(opt.imgsz, stride, floor=stride * 2)
    if opt.batch_size == -1:
        opt.batch_size = autobatch(run.model, run.imgsz, stride=stride)
    common = {'stride': stride, 'single_cls': opt.single_cls, 'hyp': run.hyp, 'seed': opt.seed, 'nc': run.nc}
    with in_turn():
        labels = read_labels(run.data.train, None if opt.single_cls else run.nc, name='train', need_labels=True)
    # A batch of images as bytes and as numbers, which is little beside what training takes.
    needed = 15 * min(run.batch_size, len(labels.images)) * run.imgsz**2
    check_memory(needed, f'--batch-size {opt.batch_size} --img {run.imgsz}', 'take smaller ones')
    with in_turn() if opt.cache == 'disk' else nullcontext():
        run.train_loader, run.dataset = create_dataloader(
            labels, run.imgsz, run.batch_size, augment=True, cache=opt.cache, rect=opt.rect,
            image_weights=opt.image_weights, quad=opt.quad, workers=opt.workers, shuffle=True, prefix='train: ',
            rank=rank(), world_size=world_size(), **common,
        )  # fmt: skip
    if is_main():
        run.val_loader, _ = create_dataloader(
            run.data.val, run.imgsz, 2 * run.batch_size, cache=None if opt.noval else opt.cache, rect=True, pad=0.5,
            workers=opt.workers * 2, prefix='val: ', **common,
        )  # fmt: skip
    if not (opt.noautoanchor or run.checkpoint):
        fit_anchors(run)
    run.model.class_weights = labels_to_class_weights(run.dataset.labels, run.nc) * run.nc


def fit_anchors(run: Run) -> None:
    """Let process 0 judge the anchors, and replace them where they fit badly; all take what it found."""
    import oneflow as torch

    from utils.anchors import check_anchors

    if is_main():
        check_anchors(run.dataset, run.model, thr=run.hyp['anchor_t'], imgsz=run.imgsz)
    anchors = run.model.detect.anchors
    found = share(anchors.cpu().numpy().tolist())
    if not is_main():
        anchors.copy_(torch.tensor(found, device=anchors.device))


def build_optimizer(run: Run) -> None:
    """Optimiser, schedule, average of the weights, early stop, and the loss with its gains."""
    import numpy as np

    from utils import fused
    from utils.ema import ModelEMA
    from utils.loss import ComputeLoss
    from utils.optim import scale_gains, scaled_weight_decay, smart_optimizer
    from utils.schedule import EarlyStopping, Schedule

    opt, hyp = run.opt, run.hyp
    decay = scaled_weight_decay(hyp['weight_decay'], opt.batch_size)
    run.optimizer = smart_optimizer(
        run.model, opt.optimizer, hyp['lr0'], hyp['momentum'], decay, fused=opt.multi_tensor_optimizer or run.fuses
    )
    run.schedule = Schedule(run.optimizer, hyp, opt.epochs, len(run.train_loader), opt.batch_size, opt.cos_lr)
    run.ema = ModelEMA(run.model, fused=opt.multi_tensor_optimizer or run.fuses) if is_main() else None
    run.stopper = EarlyStopping(opt.patience)
    run.model.hyp = scale_gains(hyp, run.model.detect.nl, run.nc, run.imgsz)
    ciou = fused.choose_ciou(run.device) if opt.bbox_iou_optim or run.fuses else fused.ciou
    run.compute_loss = run.val_loss = ComputeLoss(run.model, ciou=ciou)
    run.maps = np.zeros(run.nc)


def distribute(run: Run) -> None:
    """Several processes: the model of process 0 for all, whose gradients are averaged from here on.

    The average of the weights was copied before, so that process 0 can evaluate it alone. On a GPU all gradients come
    to lie side by side.
    """
    from utils.fused import flatten_gradients, may_flatten_gradients

    if world_size() > 1:
        _wrap(run)
    if run.fuses and may_flatten_gradients(run.device):
        run.gradients = flatten_gradients(run.model)


def _wrap(run: Run) -> None:
    import oneflow as torch

    from models.sync_bn import convert_sync_batchnorm
    from utils.loss import ComputeLoss

    if run.opt.sync_bn:
        LOGGER.info(f'Batch norm over all processes in {convert_sync_batchnorm(run.model)} layers')
    # Running statistics are those of process 0, who saves them; training does not read them.
    run.model = torch.nn.parallel.DistributedDataParallel(run.model, broadcast_buffers=False)
    run.compute_loss = ComputeLoss(run.model, ranks=world_size(), ciou=run.val_loss.ciou)


def open_folder(run: Run) -> None:
    """Make the run's folder and write what is known of the run: options, hyper-parameters, the labels drawn.

    A resumed run has all of that; process 0 does it.
    """
    if is_main():
        _write_first_files(run)
    run.folder = Path(share(str(run.folder)))


def _write_first_files(run: Run) -> None:
    import numpy as np

    from utils.loggers import Loggers
    from utils.plots import plot_labels
    from utils.train_state import file_identity

    resumed = run.start_epoch > 0
    if not resumed:
        run.folder = increment_path(Path(run.opt.project) / run.opt.name, run.opt.exist_ok, mkdir=True)
        (run.folder / 'weights').mkdir(exist_ok=True)
        run.other_last = file_identity(run.last)
        write_yaml(run.folder / 'hyp.yaml', run.hyp)
        write_yaml(run.folder / 'opt.yaml', asdict(run.opt) | {'save_dir': str(run.folder)})
    run.loggers = Loggers(run.folder, run.opt.loggers, run.best_results, run.start_epoch)
    run.callbacks.register_all(run.loggers)
    run.callbacks.run('on_params_update', asdict(run.opt) | run.hyp)
    if not (run.opt.noplots or resumed):
        plot_labels(np.concatenate(run.dataset.labels), run.names, run.folder)
    run.callbacks.run('on_pretrain_routine_end')


def announce(run: Run) -> None:
    """The last lines before the first epoch."""
    run.callbacks.run('on_train_start')
    each = f' for each of {world_size()} processes, {local_world_size()} of them here' if world_size() > 1 else ''
    LOGGER.info(
        f'Image sizes {run.imgsz} train, {run.imgsz} val\n'
        f'Using {run.train_loader.workers} loader processes{each}\n'
        f'Logging results to {colorstr("bold", str(run.folder))}\n'
        f'Starting training for {run.opt.epochs} epochs...'
    )


def close(run: Run) -> None:
    """End the loaders' processes and close the loggers' files, however the run ended."""
    for loader in (run.train_loader, run.val_loader):
        if loader is not None:
            loader.close()
    try:
        run.callbacks.run('teardown')
    finally:
        if run.loggers:
            run.callbacks.unregister_all(run.loggers)
