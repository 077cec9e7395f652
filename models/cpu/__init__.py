"""Training on the CPU at speed: the whole network as one autograd function over primitives of oneDNN.

`engine.forward` is the door and `Model.forward` the one who knocks; plain OneFlow is the path for a GPU, the fallback,
and the oracle of the tests. YOLOV5_CPU_ENGINE=0 keeps the door shut. To read it, from the door inwards:

    engine.py   the autograd function; one engine a model, its plans by input shape and frozen parameters
    network.py  one compiled network: tensors in, tensors out, running statistics
    shared.py   NumPy's view of OneFlow's tensors
    lower.py    our layers -> operations, in one table
    ops.py      the operations: forward steps, and backward steps on a tape;  norm.py: batch norm
    builder.py  what operations share: parameters, layout changes, the sum of a gradient's parts
    plan.py     the steps in order, and where their numbers lie in one arena
    dnnl.py     oneDNN's C interface through ctypes

A network with a layer that is not in the table (attention, transposed convolutions) trains on
plain OneFlow as a whole.

Inference has no gradients to keep: inference.py gives a network whose weights are settled to onnxruntime, on the graph
that models/graph makes of it. models/backend.py asks it, for detect, val, the Python API and training's evaluations.
"""
