"""Reading descriptions: scaling, names, arguments, and a clear word on every kind of mistake."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from models import common, ops
from models.parse import LAYERS, REPEATING, SCALED, parse_model, read_config
from models.yolo import Model
from tests.models.tiny import TINY
from utils.errors import ConfigError
from utils.paths import write_yaml


def changed(**values: Any) -> dict[str, Any]:
    return copy.deepcopy(TINY) | values


def with_row(index: int, row: Any) -> dict[str, Any]:
    config = copy.deepcopy(TINY)
    config['backbone'][index] = row
    return config


def test_channels_and_repeats_are_scaled():
    layers, save = parse_model(read_config(changed(depth_multiple=1.0))[0], [3])
    assert layers[0].args == [3, 8, 6, 2, 2]  # 64 channels / 8
    assert layers[2].args == [8, 8, 3]
    assert len(layers[2].m) == 3
    assert (layers[2].i, layers[2].f, layers[2].n, layers[2].type) == (2, -1, 3, 'models.common.C3')
    assert layers[6].np == 0
    assert layers[7].args == [24, 8, 1, False]  # 16 of row 5 and 8 of row 2
    assert save == [2, 4, 7]


def test_channels_are_multiples_of_eight_and_repeats_at_least_one():
    layers, _ = parse_model(read_config(changed(width_multiple=0.02, depth_multiple=0.01))[0], [3])
    assert layers[0].args[1] == 8
    assert layers[2].n == 1


def test_an_output_layer_keeps_its_width():
    """As many channels as the head has values: such a layer is not scaled."""
    layers, _ = parse_model(read_config(with_row(1, [-1, 1, 'Conv', [18, 3, 2]]))[0], [3])
    assert layers[1].args[1] == 18


def test_other_layers_are_chained():
    config = with_row(1, [-1, 2, 'Bottleneck', [64]])
    config['depth_multiple'] = 1.0
    layers, _ = parse_model(read_config(config)[0], [3])
    assert [type(m) for m in layers[1]] == [common.Bottleneck] * 2
    assert layers[1].type == 'models.common.Bottleneck'


def test_layers_of_the_table():
    """Names in the sets are names in the table, and the fast layers stand for OneFlow's."""
    assert set(LAYERS) >= SCALED | REPEATING
    assert LAYERS['nn.Upsample'] is ops.Upsample
    for name, cls in LAYERS.items():
        assert name.removeprefix('nn.') == cls.__name__


def test_words_become_values():
    config = with_row(1, [-1, 1, 'Conv', [64, 3, 2, 'None', 1, 'False']])
    layer = parse_model(read_config(config)[0], [3])[0][1]
    assert layer.args == [8, 8, 3, 2, None, 1, False]
    assert not isinstance(layer.act, ops.SiLU)


def test_the_description_is_left_alone():
    config = copy.deepcopy(TINY)
    model = Model(config, nc=2)
    assert config == TINY
    assert model.yaml == TINY | {'nc': 2, 'ch': 3}


def test_number_of_anchors():
    model = Model(TINY, anchors=3.0)
    assert model.yaml['anchors'] == 3
    assert model.detect.na == 3
    assert (model.detect.anchors.numpy()[0] * 4).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_file_and_input_channels(tmp_path):
    write_yaml(tmp_path / 'mine.yaml', TINY)
    model = Model(tmp_path / 'mine.yaml', ch=1)
    assert model.yaml_file == 'mine.yaml'
    assert model.model[0].args[0] == 1
    assert model.yaml['ch'] == 1


def test_a_replaced_value_is_said(messages):
    read_config(TINY, nc=2)
    read_config(TINY, nc=4)
    assert messages() == 'model description: nc is 4, using 2'


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ([-1, 1, 'Konv', [64]], "row 1: no layer is called 'Konv'. Did you mean Conv?"),
        ([-1, 1, '__import__("os").system("true")', []], 'row 1: no layer is called .*Known are Conv'),
        ([-1, 1, ['Conv'], [64]], 'row 1: no layer is called'),
        ([-1, 1, 'Conv', [64, 'nsa']], r"row 1 \(Conv\): argument 'nsa' means nothing. Use a number"),
        ([-1, 1, 'Conv', ['nc*2']], "argument 'nc\\*2' means nothing"),
        ([-1, 1, 'Conv', []], 'has no number of output channels'),
        ([-1, 1, 'Conv', [64, 3, 2, 1, 1, True, 7, 7]], r'row 1 \(Conv\): can not be built with'),
        ([-1, 1, 'Conv', [64, 3, 2, None, 3]], r'row 1 \(Conv\): can not be built with'),
        ([-1, 0, 'Conv', [64]], 'repeats are 0'),
        ([-1, 'two', 'Conv', [64]], "repeats are 'two'"),
        ([-1, 1, 'Conv', 64], 'arguments are 64'),
        ([-1, 1, 'Conv'], r"row 1 is \[-1, 1, 'Conv'\]. Write \[from, repeats, module, \[arguments\]\]"),
        ('Conv', "row 1 is 'Conv'"),
        ([1, 1, 'Conv', [64]], 'takes its input from row 1'),
        ([-3, 1, 'Conv', [64]], 'takes its input from row -3'),
        (['x', 1, 'Conv', [64]], "takes its input from row 'x'"),
        ([[-1, 0], 1, 'Conv', [64]], r'row 1 \(Conv\): takes several inputs'),
    ],
)
def test_wrong_rows(row, message):
    with pytest.raises(ConfigError, match=message):
        Model(with_row(1, row))


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'nc': 0}, 'nc is 0'),
        ({'nc': 'many'}, "nc is 'many'"),
        ({'width_multiple': -1}, 'width_multiple is -1'),
        ({'anchors': [[10, 13], [30, 61, 62]]}, 'anchors are'),
        ({'anchors': []}, 'anchors are'),
        ({'anchors': 0}, 'anchors are'),
        ({'anchors': [[10, 13], [30, 61], [1, 2]]}, r'row 8 \(Detect\): 2 inputs, and anchors are \[\[10, 13\], '),
        ({'head': [[[2], 1, 'Detect', ['nc', None]]]}, r'1 inputs, and anchors are None'),
        ({'head': [[[2, 4], 1, 'Detect', ['nc']]]}, r"arguments are \['nc'\]. Write \[nc, anchors\]"),
    ],
)
def test_wrong_values(values, message):
    with pytest.raises(ConfigError, match=message):
        Model(changed(**values))


@pytest.mark.parametrize('key', ['nc', 'depth_multiple', 'width_multiple', 'anchors', 'backbone', 'head'])
def test_missing_keys(key):
    config = copy.deepcopy(TINY)
    del config[key]
    with pytest.raises(ConfigError, match=f'model description: has no "{key}"'):
        Model(config)


def test_rows_that_do_not_fit_each_other():
    """The maps of strides 4 and 16 can't be joined: the message names the row."""
    config = copy.deepcopy(TINY)
    config['head'][1] = [[-1, 4], 1, 'Concat', [1]]
    with pytest.raises(ConfigError, match=r'model description: row 6 \(Concat\) does not fit'):
        Model(config)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match=r'nowhere.yaml: no such model file'):
        Model('nowhere.yaml')
    (tmp_path / 'list.yaml').write_text('- 1\n- 2\n')
    with pytest.raises(ConfigError, match=r'list.yaml: not a model description'):
        Model(tmp_path / 'list.yaml')
    (tmp_path / 'broken.yaml').write_text('nc: 4\nanchors: [\n')
    with pytest.raises(ConfigError, match='broken.yaml line 3'):
        Model(tmp_path / 'broken.yaml')
