"""Models as ONNX graphs, built operation by operation from our layers; no tracing, so it takes a fraction of a second.

`build.build_onnx` is the door. To read it, from the door inwards:

    build.py    a model's rows in order, the file's envelope and metadata
    layers.py   our layers -> operations, in one table
    detect.py   the head with its decoder;  nms.py: non-maximum suppression behind it
    ops.py      operations that several layers share
    writer.py   the graph being written
"""
