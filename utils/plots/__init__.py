"""Every plot of a run. The parts live in the modules of this package; scripts import them from here.

Figures are made through matplotlib's object interface: no pyplot, no global state, no display.
"""

from utils.annotate import Annotator, Colors, colors, save_one_box
from utils.plots.curves import plot_confusion_matrix, plot_mc_curve, plot_pr_curve
from utils.plots.features import feature_visualization
from utils.plots.images import output_to_target, plot_images
from utils.plots.labels import hist2d, plot_labels, plot_targets_txt
from utils.plots.runs import (
    butter_lowpass_filtfilt,
    plot_evolve,
    plot_lr_scheduler,
    plot_results,
    plot_val_study,
)

__all__ = [
    'Annotator',
    'Colors',
    'butter_lowpass_filtfilt',
    'colors',
    'feature_visualization',
    'hist2d',
    'output_to_target',
    'plot_confusion_matrix',
    'plot_evolve',
    'plot_images',
    'plot_labels',
    'plot_lr_scheduler',
    'plot_mc_curve',
    'plot_pr_curve',
    'plot_results',
    'plot_targets_txt',
    'plot_val_study',
    'save_one_box',
]
