import re

from models.yolo import Model
from utils.loggers.graph import model_graph
from utils.loggers.tensorboard import TensorBoardLog


def inputs_of(graph):
    return {node.name: list(node.input) for node in graph.node}


def test_nodes_are_the_rows_and_edges_their_sources(tiny):
    model = Model(tiny.cfg, nc=4)
    graph = model_graph(model)
    inputs = inputs_of(graph)
    assert len(inputs) == len(model.model) + 1 == 26
    assert inputs['images'] == []
    assert inputs['backbone/0_Conv'] == ['images']
    assert inputs['backbone/9_SPPF'] == ['backbone/8_C3']
    assert inputs['head/12_Concat'] == ['head/11_Upsample', 'backbone/6_C3']
    assert inputs['head/24_Detect'] == ['head/17_C3', 'head/20_C3', 'head/23_C3']
    assert all(source in inputs for sources in inputs.values() for source in sources)
    node = graph.node[1]
    assert (node.op, node.attr['parameters'].s) == ('Conv', str(model.model[0].np).encode())
    assert node.attr['arguments'].s == str(model.model[0].args).encode()


def test_sources_counted_back():
    cfg = {'nc': 2, 'depth_multiple': 1.0, 'width_multiple': 1.0, 'anchors': 3, 'backbone': [
        [-1, 1, 'Conv', [8, 3, 2]], [-1, 1, 'Conv', [8, 3, 2]], [-1, 1, 'Conv', [8, 3, 1]],
        [[-1, -2], 1, 'Concat', [1]],
    ], 'head': [[[-1], 1, 'Detect', ['nc', 'anchors']]]}  # fmt: skip
    cfg['anchors'] = [[10, 13, 16, 30]]
    inputs = inputs_of(model_graph(Model(cfg)))
    assert inputs['backbone/3_Concat'] == ['backbone/2_Conv', 'backbone/1_Conv']
    assert inputs['head/4_Detect'] == ['backbone/3_Concat']


def test_tensorboard_reads_it(tiny, tmp_path, messages):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = Model(tiny.cfg, nc=4)
    log = TensorBoardLog(tmp_path)
    log.graph(model)
    log.close(True)
    read = EventAccumulator(str(tmp_path)).Reload().Graph()
    assert read == model_graph(model)
    # The names that its page accepts.
    assert all(re.fullmatch(r'[A-Za-z0-9.][A-Za-z0-9_./]*', node.name) for node in read.node)
