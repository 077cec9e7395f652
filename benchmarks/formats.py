"""Accuracy, size and speed of one model in every format there is: python benchmarks.py --weights yolov5n.pt

Each format is exported and then evaluated by val.py, on square pictures, so that all see the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from utils.device_choice import claim_device
from utils.errors import WeightsError
from utils.log import LOGGER, colorstr, set_logging
from utils.options import describe_options, make_options, option, parse_options
from utils.paths import increment_path
from utils.terminal import printable

if TYPE_CHECKING:
    import pandas

CHECKPOINT = 'checkpoint'  # what all others are made from
NOT_HERE = 'not available'


@dataclass
class BenchmarkOptions:
    """What the command line and `run` take."""

    weights: str = option('yolov5s.pt', help='checkpoint')
    imgsz: int = option(640, '--imgsz', '--img', '--img-size', help='image size in pixels')
    batch_size: int = option(1, help='batch size')
    data: str = option('coco128.yaml', help='data set YAML')
    device: str = option('', help='cpu or a GPU number such as 0')
    half: bool = option(False, help='half precision (GPU only)')
    test: bool = option(False, help='export and evaluate nothing')
    hard_fail: float = option(
        None, nargs='?', const=0.0, type=float, metavar='FLOOR',
        help='end with an error if a format fails or its mAP50-95 is under FLOOR',
    )  # fmt: skip
    workers: int = option(8, help='loader processes at most')
    project: str = option('runs/benchmarks', help='folder of runs')
    name: str = option('exp', help='name of this run; a number is added if it is taken')


@dataclass(frozen=True)
class Row:
    """What came of a format."""

    format: str
    status: str  # 'ok', 'exported', or what went wrong
    size_mb: float | None = None
    map50_95: float | None = None
    ms: float | None = None  # inference of a picture
    file: str = ''
    note: str = ''  # why there are no figures

    @property
    def failed(self) -> bool:
        return self.status not in ('ok', 'exported', NOT_HERE)


def run(**options: object) -> pandas.DataFrame:
    """Measure every format; returns the table, a row each, that is also logged and written as benchmarks.csv.

    Raises:
        UserError: the weights or the data can't be used; with hard_fail, a format failed or its mAP is too low.
    """
    import pandas

    from export import ELSEWHERE, FORMATS

    opt = make_options(BenchmarkOptions, **options)
    LOGGER.info(colorstr('benchmarks: ') + describe_options(opt))
    folder = increment_path(Path(opt.project) / opt.name, mkdir=True)
    rows = [measure(name, opt, folder) for name in (CHECKPOINT, *FORMATS)]
    rows += [Row(name, NOT_HERE, note=reason) for name, reason in ELSEWHERE.items()]
    table = pandas.DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(Row)])
    table.to_csv(folder / 'benchmarks.csv', index=False)
    LOGGER.info('\n' + described(table))
    LOGGER.info(f'Results saved to {colorstr("bold", str(folder / "benchmarks.csv"))}')
    if opt.hard_fail is not None:
        judge(rows, opt.hard_fail)
    return table


def described(table: pandas.DataFrame) -> str:
    """The table as text, without what is only for the file."""
    columns = {'format': 'Format', 'size_mb': 'Size (MB)', 'map50_95': 'mAP50-95', 'ms': 'Inference (ms)'}
    columns |= {'status': 'Status'}
    numbers = dict.fromkeys(('size_mb', 'map50_95', 'ms'), float)  # None, where there are none, becomes NaN
    shown = table[list(columns)].astype(numbers).rename(columns=columns)
    return shown.to_string(index=False, na_rep='', float_format=lambda x: f'{x:.4g}')


def measure(name: str, opt: BenchmarkOptions, folder: Path) -> Row:
    """Export one format and evaluate it. What fails is in the row; only a checkpoint that can't be read ends it all."""
    try:
        file = Path(opt.weights) if name == CHECKPOINT else exported(name, opt)
    except Exception as problem:  # converters and what runs their files raise what they like
        LOGGER.warning(f'WARNING: {name}: {problem}')
        return Row(name, 'export failed', note=str(problem))
    try:
        if opt.test or not runs_here(name):
            return Row(name, 'exported', megabytes(file), file=str(file))
        return evaluated(name, file, opt, folder)
    except Exception as problem:
        if name == CHECKPOINT:
            raise
        LOGGER.warning(f'WARNING: {name}: {problem}')
        return Row(name, 'evaluation failed', megabytes(file), file=str(file), note=str(problem))


def exported(name: str, opt: BenchmarkOptions) -> Path:
    """The file or folder that export.py makes of the weights, beside them."""
    import export

    files = export.run(
        weights=opt.weights, data=opt.data, imgsz=[opt.imgsz], batch_size=opt.batch_size, device=opt.device,
        half=opt.half, include=[name],
    )  # fmt: skip
    if not files:
        raise WeightsError(f'{opt.weights}: no {name} file came of it')
    return Path(files[-1])


def runs_here(name: str) -> bool:
    """Whether val.py can run the format."""
    from export import FORMATS

    return name == CHECKPOINT or FORMATS[name].cpu or FORMATS[name].gpu


def evaluated(name: str, file: Path, opt: BenchmarkOptions, folder: Path) -> Row:
    """mAP50-95 and the time of inference, by val.py on square pictures."""
    import val

    results, _, milliseconds = val.run(
        opt.data, weights=[str(file)], imgsz=opt.imgsz, batch_size=opt.batch_size, device=opt.device, half=opt.half,
        workers=opt.workers, task='speed', save_dir=folder / name, plots=False,
    )  # fmt: skip
    return Row(name, 'ok', megabytes(file), round(results[3], 5), round(milliseconds[1], 2), str(file))


def megabytes(path: Path) -> float | None:
    """Size of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob('*') if p.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6, 2) if files else None


def judge(rows: list[Row], floor: float) -> None:
    """--hard-fail: refuse formats that failed or scored less than `floor`."""
    failed = [row.format for row in rows if row.failed]
    if failed:
        raise WeightsError(f'--hard-fail: {", ".join(failed)} failed', 'see the messages above')
    low = [f'{row.format} {row.map50_95}' for row in rows if row.map50_95 is not None and row.map50_95 < floor]
    if low:
        raise WeightsError(f'--hard-fail: mAP50-95 under {floor}: {", ".join(low)}')


def main(argv: list[str] | None = None) -> None:
    set_logging()
    opt = parse_options(BenchmarkOptions, argv, 'Accuracy and speed of every format', 'benchmarks.py')
    claim_device(opt.device)
    table = run(**asdict(opt))
    failed = table[table.status.str.endswith('failed')]
    if len(failed):  # the others are measured, but the exit code tells
        named = ', '.join(f'{name} ({printable(note, 150)})' for name, note in zip(failed.format, failed.note))
        raise WeightsError(f'{len(failed)} of {len(table)} formats failed: {named}')
