"""The scale of the input, folded into the first convolution: a layer over every pixel of the frame less on the Pi.

The converter folds what follows a convolution into it, BatchNorm for one, but not what comes before. A factor commutes
with a convolution, padding and all; an offset does not, since the zeros of the padding are not shifted with the frame.
"""

from __future__ import annotations

import keras
from keras import layers


def fold_rescaling(model: keras.Model) -> keras.Model:
    """The same network without its Rescaling layers that have no offset and feed convolutions alone.

    Returns `model` itself where there is none.
    """
    folded = {layer.name: readers for layer in model.layers if (readers := _foldable(model, layer))}
    if not folded:
        return model
    without = keras.models.clone_model(
        model,
        clone_function=lambda layer: (
            layers.Identity(name=layer.name) if layer.name in folded else type(layer).from_config(layer.get_config())
        ),
    )
    without.set_weights(model.get_weights())
    for name, readers in folded.items():
        for reader in readers:
            convolution = without.get_layer(reader.name)
            convolution.kernel.assign(convolution.kernel * model.get_layer(name).scale)
    return without


def _foldable(model: keras.Model, layer: keras.Layer) -> list[keras.Layer]:
    """The convolutions that read this layer; none where it is no pure factor, or something else reads it too."""
    if not isinstance(layer, layers.Rescaling) or layer.offset != 0 or not isinstance(layer.scale, float):
        return []
    readers = [other for other in model.layers if any(given is layer.output for given in _inputs(other))]
    return readers if all(type(reader) is layers.Conv2D for reader in readers) else []


def _inputs(layer: keras.Layer) -> list[keras.KerasTensor]:
    given = layer.input if not isinstance(layer, layers.InputLayer) else []
    return given if isinstance(given, list) else [given]
