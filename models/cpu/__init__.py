"""Training on the CPU at speed: the whole network as one function of oneDNN primitives.

`models.cpu.engine.forward` is the door, and `Model.forward` the one who knocks; plain OneFlow is the path for a GPU,
the fallback, and the oracle of the tests.
"""
