"""What the graph of a signature says of the shapes it takes."""

from collections.abc import Iterable

import tensorflow as tf

# They take tensors of any shapes that go together, and say so when two do not.
_OF_ANY_SHAPE = frozenset(
    {
        "Add", "AddV2", "Cast", "Const", "Div", "Identity", "Mul", "Neg", "ReadVariableOp", "RealDiv", "Sub",
        "VarHandleOp", "Variable", "VariableV2",
    }
)  # fmt: skip


def takes_any_shape(graph: tf.Graph, inputs: Iterable[str], outputs: Iterable[str]) -> bool:
    """Whether a signature's declared shapes are no condition: it does arithmetic on whatever it gets.

    TensorFlow Serving feeds a tensor of another shape than the signature's, and leaves it to the operations to mind.
    Some end the process over it, such as tensorflow/tensorflow#125505; these do not.

    Args:
      graph: holds both.
      inputs: names of tensors that are fed.
      outputs: names of tensors that are fetched.
    """
    fed = {graph.get_tensor_by_name(name).ref() for name in inputs}
    waiting = [graph.get_tensor_by_name(name) for name in outputs]
    seen = set(fed)
    while waiting:
        tensor = waiting.pop()
        if tensor.ref() in seen:
            continue
        seen.add(tensor.ref())
        if tensor.op.type not in _OF_ANY_SHAPE:
            return False
        waiting.extend(tensor.op.inputs)
    return True
