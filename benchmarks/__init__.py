"""Speed measurements: `python -m benchmarks` runs them all. Nothing here is a test.

    __main__.py    the command: its options, then section by section
    plan.py        what is measured: every figure with its setting
    sides.py       the child processes that are timed, told over a pipe to run one repetition at a time
    worker.py      such a child; kits.py: what each kind of child can do; cases.py: what one repetition is
    plain.py       layers as they are usually written, for our model source on plain OneFlow and on PyTorch
    checkout.py    the same cases from a checkout of the reference or of one-yolov5
    validation.py  where an evaluation's time goes; weights.py: a checkpoint where none is given
    gpu.py         figures that need a GPU
    results.py     ratios and their spread, as CSV, Markdown and plots

`python -m benchmarks.labels` and `python -m benchmarks.loader` measure two parts of the data path
alone; formats.py is behind `python benchmarks.py`, one model in every format.
"""
