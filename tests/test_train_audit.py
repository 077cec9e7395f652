"""No option of train.py without a test that fails where the option does nothing."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from train import TrainOptions

HERE = Path(__file__).parent
COVERED = {  # option: file::function, from this folder
    'weights': 'test_train_options.py::test_weights_go_over_whole',
    'cfg': 'test_train_options.py::test_anchors_that_do_not_fit_are_replaced_unless_asked_not_to',
    'data': 'test_train.py::test_bad_input_is_one_line_and_leaves_no_folder',
    'hyp': 'test_train_options.py::test_hyper_parameters_arrive',
    'epochs': 'test_train.py::test_nosave_and_noval_leave_it_to_the_last_epoch',
    'batch_size': 'test_train_options.py::test_small_batches_add_up_to_64',
    'imgsz': 'test_train_options.py::test_image_size_is_rounded_up_and_that_is_said',
    'rect': 'test_train_options.py::test_rect',
    'resume': 'test_resume.py::test_a_run_that_was_stopped_ends_as_one_that_was_not',
    'nosave': 'test_train.py::test_nosave_and_noval_leave_it_to_the_last_epoch',
    'noval': 'test_train.py::test_nosave_and_noval_leave_it_to_the_last_epoch',
    'noautoanchor': 'test_train_options.py::test_anchors_that_do_not_fit_are_replaced_unless_asked_not_to',
    'noplots': 'test_train.py::test_noplots_and_paths_that_are_paths',
    'evolve': 'utils/test_evolve.py::test_three_generations',
    'cache': 'test_train_options.py::test_cache',
    'image_weights': 'test_train_options.py::test_image_weights_draw_what_is_found_badly',
    'device': 'test_train.py::test_bad_input_is_one_line_and_leaves_no_folder',
    'multi_scale': 'test_train_options.py::test_multi_scale',
    'single_cls': 'test_train_options.py::test_single_cls',
    'optimizer': 'test_train_options.py::test_optimizer',
    'sync_bn': 'cli/test_distributed.py::test_two_processes_train_as_one',
    'workers': 'test_train_options.py::test_workers',
    'project': 'test_train.py::test_folders_are_numbered_unless_told_otherwise',
    'name': 'test_train.py::test_folders_are_numbered_unless_told_otherwise',
    'exist_ok': 'test_train.py::test_folders_are_numbered_unless_told_otherwise',
    'quad': 'test_train_options.py::test_quad_gives_boards_whose_loss_counts_fourfold',
    'cos_lr': 'test_train_options.py::test_cosine_schedule',
    'label_smoothing': 'test_train_options.py::test_label_smoothing',
    'patience': 'test_train.py::test_patience_ends_a_run_that_gets_no_better',
    'freeze': 'test_train_options.py::test_freeze',
    'save_period': 'test_train.py::test_files',
    'seed': 'test_train.py::test_the_seed_is_all_that_decides',
    'bbox_iou_optim': 'test_train_options.py::test_fused_box_loss',
    'multi_tensor_optimizer': 'test_train_options.py::test_fused_optimizer_and_average',
    'no_fused': 'test_train_options.py::test_fused_operators_are_the_default_on_a_gpu',
    'loggers': 'test_train.py::test_loggers',
    'local_rank': 'test_train_options.py::test_names_and_defaults_are_the_references',  # is there to be ignored
}


@pytest.mark.parametrize('option', [field.name for field in fields(TrainOptions)])
def test_every_option_has_its_test(option):
    assert option in COVERED, f'name the test of --{option.replace("_", "-")} above'
    file, name = COVERED[option].split('::')
    functions = [node for node in ast.parse((HERE / file).read_text()).body if isinstance(node, ast.FunctionDef)]
    assert name in [function.name for function in functions]
