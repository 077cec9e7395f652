"""Every name that YOLOv5 users script against has its home, and the mirrored test file is there."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

HOMES = {
    'models.common': """Conv DWConv DWConvTranspose2d TransformerLayer TransformerBlock Bottleneck BottleneckCSP
        CrossConv C3 C3x C3TR C3SPP C3Ghost SPP SPPF Focus GhostConv GhostBottleneck Contract Expand Concat Classify
        MixConv2d Sum autopad""",
    'models.head': 'Detect',
    'models.yolo': 'Model',
    'models.parse': 'parse_model',
    'models.ensemble': 'Ensemble',
    'models.backend': 'DetectMultiBackend',
    'models.autoshape': 'AutoShape',
    'models.detections': 'Detections',
    'models.summary': 'model_info',
    'models.surgery': """fuse_conv_and_bn scale_img initialize_weights find_modules sparsity prune copy_attr""",
    'utils.boxes': """bbox_iou box_iou bbox_ioa wh_iou xyxy2xywh xywh2xyxy xywhn2xyxy xyxy2xywhn xyn2xy segment2box
        segments2boxes resample_segments scale_coords clip_coords""",
    'utils.nms': 'non_max_suppression',
    'utils.assigner': 'build_targets',
    'utils.loss': 'ComputeLoss FocalLoss QFocalLoss BCEBlurWithLogitsLoss smooth_BCE',
    'utils.metrics': 'ap_per_class compute_ap smooth fitness ConfusionMatrix process_batch',
    'utils.coco': 'coco80_to_coco91_class save_one_json evaluate_json',
    'utils.evaluate': 'save_one_txt',
    'utils.anchors': 'check_anchor_order check_anchors kmean_anchors',
    'utils.autobatch': 'check_train_batch_size autobatch',
    'utils.optim': 'smart_optimizer',
    'utils.schedule': 'one_cycle EarlyStopping',
    'utils.ema': 'ModelEMA',
    'utils.checkpoint': 'attempt_load intersect_dicts strip_optimizer load_checkpoint save_checkpoint',
    'utils.downloads': 'attempt_download safe_download download is_url url2file check_file',
    'utils.device': 'select_device time_sync init_seeds',
    'utils.imgsz': 'check_img_size make_divisible',
    'utils.paths': 'increment_path',
    'utils.log': 'colorstr',
    'utils.callbacks': 'Callbacks',
    'utils.loggers': 'Loggers',
    'utils.plots': """Annotator Colors colors save_one_box plot_images output_to_target plot_labels plot_results
        plot_pr_curve plot_mc_curve plot_lr_scheduler plot_evolve plot_val_study plot_targets_txt
        feature_visualization hist2d butter_lowpass_filtfilt""",
    'utils.data.yaml': 'check_dataset',
    'utils.data.labels': """img2label_paths verify_image_label labels_to_class_weights labels_to_image_weights""",
    'utils.data.tools': 'extract_boxes autosplit dataset_stats flatten_recursive',
    'utils.data.image_header': 'exif_size',
    'utils.data.augment': """letterbox random_perspective mixup copy_paste augment_hsv box_candidates cutout replicate
        hist_equalize Albumentations""",
    'utils.data.dataset': 'LoadImagesAndLabels',
    'utils.data.loader': 'create_dataloader',
    'utils.data.sources': 'LoadImages',
    'utils.data.streams': 'LoadStreams',
    'train': 'run main',
    'val': 'run main',
    'detect': 'run main',
    'export': 'run main export_formats export_onnx export_openvino',
    'hubconf': """custom yolov5n yolov5s yolov5m yolov5l yolov5x yolov5n6 yolov5s6 yolov5m6 yolov5l6 yolov5x6""",
}


@pytest.mark.parametrize(('module', 'name'), [(m, n) for m, names in HOMES.items() for n in names.split()])
def test_home(module, name):
    thing = getattr(importlib.import_module(module), name)
    assert callable(thing)
    if name != 'main':
        assert inspect.getdoc(thing), f'{module}.{name} has no docstring'


@pytest.mark.parametrize('module', HOMES)
def test_mirrored_test(module):
    """utils/boxes.py is tested by tests/utils/test_boxes.py; a package by a folder of that name."""
    path = Path('tests', *module.split('.'))
    assert (ROOT / path.with_name(f'test_{path.name}.py')).is_file() or (ROOT / path).is_dir()
