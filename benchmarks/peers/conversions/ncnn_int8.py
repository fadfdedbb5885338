"""float32 ncnn -> int8 ncnn, since ncnn's wheels bring the kernels but not the tools that quantise for them.

    python -m benchmarks.peers.conversions.ncnn_int8 SOURCE.param CALIBRATION.npy TARGET.param

As ncnn's own tools do, every convolution is quantised: weights symmetric per output channel by their largest value,
its input symmetric with one scale, and where all that read a convolution's output are convolutions too, it hands on
int8 ("requantises"). The input's scale is the one of least squared error over the calibration frames.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.peers.worker import to_nchw

Floats = npt.NDArray[np.float32]

CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
OUTPUTS, KERNEL_W, BIAS, WEIGHTS, GROUPS, SCALES, KERNEL_H = "0", "1", "5", "6", "7", "8", "11"  # a layer's parameters
PER_CHANNEL = {"Convolution": 2, "ConvolutionDepthWise": 1}  # how SCALES says "per channel", for either
REQUANTISES = 100  # added to SCALES
INT8_TAG = 0x000D4B38
LARGEST = 127
BINS = 2048
THINNED = 7  # every seventh value goes into the histogram: all of them would take minutes
TRIED = 100  # thresholds between a fifth of the largest value and all of it


@dataclass
class Layer:
    """A line of a .param, and what the .bin holds for it."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    values: dict[str, str]
    weights: Floats | None = None  # channel x whatever one channel reads
    bias: Floats | None = None


def read(param: Path) -> list[Layer]:
    """Read a network. Raises ValueError where the .bin holds more than the convolutions' weights."""
    layers = []
    for line in param.read_text().splitlines()[2:]:
        kind, name, given, made, *rest = line.split()
        blobs, values = rest[: int(given) + int(made)], rest[int(given) + int(made) :]
        pairs = dict(value.split("=", 1) for value in values)
        layers.append(Layer(kind, name, blobs[: int(given)], blobs[int(given) :], pairs))
    data, at = param.with_suffix(".bin").read_bytes(), 0
    for layer in layers:
        if layer.kind not in CONVOLUTIONS:
            continue
        count, channels = int(layer.values[WEIGHTS]), int(layer.values[OUTPUTS])
        if data[at : at + 4] != bytes(4):
            raise ValueError(f"the weights of {layer.name} are not plain float32")
        layer.weights = np.frombuffer(data, np.float32, count, at + 4).reshape(channels, -1)
        at += 4 + 4 * count
        if layer.values.get(BIAS) == "1":
            layer.bias = np.frombuffer(data, np.float32, channels, at)
            at += 4 * channels
    if at != len(data):
        raise ValueError(f"{param.with_suffix('.bin').name} holds weights of layers that are no convolutions")
    return layers


def weight_scales(layer: Layer) -> Floats:
    """What each channel's weights are multiplied by to fill int8."""
    assert layer.weights is not None
    largest = np.abs(layer.weights).max(axis=1)
    # ncnn runs full 3x3 convolutions of stride 1 by Winograd's transform, which needs two bits of room.
    full = layer.kind == "Convolution" and layer.values.get(KERNEL_W) == layer.values.get(KERNEL_H, "3") == "3"
    limit = 31 if full and layer.values.get("3", "1") == "1" and layer.values.get("13", "1") == "1" else LARGEST
    return (limit / np.maximum(largest, 1e-12)).astype(np.float32)


class Histogram:
    """Of magnitudes, over a range that doubles when a larger one comes: the frames are run but once."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.limit = 2.0**-10

    def add(self, values: Floats) -> None:
        """Count values of either sign."""
        magnitudes = np.abs(values.ravel())
        while magnitudes.max() > self.limit:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
            self.limit *= 2
        self.counts += np.histogram(magnitudes[::THINNED], BINS, (0, self.limit))[0]

    def scale(self) -> float:
        """What a value is multiplied by to become int8, with the least squared error of rounding and clipping."""
        width = self.limit / BINS
        centres = (np.arange(BINS) + 0.5) * width
        largest = (np.flatnonzero(self.counts)[-1] + 1) * width

        def error(threshold: float) -> float:
            step = threshold / LARGEST
            rounded = np.clip(np.round(centres / step), 0, LARGEST) * step
            return float(self.counts @ (centres - rounded) ** 2)

        return float(LARGEST / min(np.linspace(0.2, 1, TRIED) * largest, key=error))


def calibrate(param: Path, layers: Sequence[Layer], frames: npt.NDArray[np.uint8]) -> dict[str, float]:
    """The scale of every blob that a convolution reads."""
    found = {layer.inputs[0]: Histogram() for layer in layers if layer.kind in CONVOLUTIONS}
    for values in activations(param, frames, list(found)):
        for blob, histogram in found.items():
            histogram.add(values[blob])
    return {blob: histogram.scale() for blob, histogram in found.items()}


def activations(param: Path, frames: npt.NDArray[np.uint8], blobs: Sequence[str]) -> Iterator[dict[str, Floats]]:
    """What these blobs hold for each frame."""
    import ncnn  # type: ignore[import-not-found, unused-ignore]

    net = ncnn.Net()
    net.opt.lightmode = False  # or blobs would be gone before they are asked for
    net.opt.num_threads = 1  # several wait for each other, spinning, where the machine is busy
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(".bin"))):
        raise RuntimeError(f"ncnn could not load {param.name}")
    for frame in frames:
        floats = to_nchw(frame)[0]  # held until it is cloned: a Mat only looks into an array's memory
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(floats).clone())
        yield {blob: np.array(extractor.extract(blob)[1]) for blob in blobs}


def handed_on(layers: Sequence[Layer]) -> dict[str, str]:
    """For each convolution that only convolutions read, the blob by whose scale it hands on int8."""
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        for blob in layer.inputs:
            readers.setdefault(blob, []).append(layer)

    def through_splits(blob: str) -> list[tuple[str, Layer]]:
        found = []
        for reader in readers.get(blob, []):
            if reader.kind == "Split":
                found += [pair for copy in reader.outputs for pair in through_splits(copy)]
            else:
                found.append((blob, reader))
        return found

    chosen = {}
    for layer in layers:
        ends = through_splits(layer.outputs[0]) if layer.kind in CONVOLUTIONS else []
        if ends and all(reader.kind in CONVOLUTIONS for _, reader in ends):
            chosen[layer.name] = ends[0][0]
    return chosen


def write(layers: Sequence[Layer], scales: dict[str, float], target: Path) -> None:
    """Write the int8 network: the .param and the .bin beside it."""
    next_blobs = handed_on(layers)
    lines, data = [], b""
    for layer in layers:
        values = dict(layer.values)
        if layer.kind in CONVOLUTIONS:
            assert layer.weights is not None
            by = weight_scales(layer)
            bytes_ = np.clip(np.round(layer.weights * by[:, None]), -LARGEST, LARGEST).astype(np.int8).tobytes()
            data += INT8_TAG.to_bytes(4, "little") + bytes_ + bytes(-len(bytes_) % 4)
            data += b"" if layer.bias is None else layer.bias.tobytes()
            data += by.tobytes() + np.float32(scales[layer.inputs[0]]).tobytes()
            term = PER_CHANNEL[layer.kind]
            if layer.name in next_blobs:
                term += REQUANTISES
                data += np.float32(scales[next_blobs[layer.name]]).tobytes()
            values[SCALES] = str(term)
        ends = [str(len(layer.inputs)), str(len(layer.outputs)), *layer.inputs, *layer.outputs]
        lines.append(" ".join([layer.kind, layer.name, *ends, *(f"{key}={value}" for key, value in values.items())]))
    blobs = sum(len(layer.outputs) for layer in layers)
    target.write_text("\n".join(["7767517", f"{len(layers)} {blobs}", *lines]) + "\n")
    target.with_suffix(".bin").write_bytes(data)


def convert(source: Path, calibration: Path, target: Path) -> None:
    layers = read(source)
    write(layers, calibrate(source, layers, np.load(calibration)), target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
