"""A model's networks run by OpenVINO: exported by ``torch.export``, converted once, compiled for each fold.

``torch.export`` refuses networks whose way depends on what they see, where tracing would keep one way of them. One
window goes through a compiled network at a time, in single precision whatever the processor offers, so that logits are
torch's but for the order in which sums are made. Instance norms are exported as sums along one axis after the other:
OpenVINO adds up all voxels of a channel in one sum, and of a million the last digits are lost.
"""

import functools
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_kits.errors import InferenceError

PRECISE = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
"""Single precision, all threads on one window, and none tied to a core that another process may use."""


class ConvertedFolds(Sequence[nn.Module]):
    """A model's network for each fold; what one needs to compute is given back when the next is asked for.

    Args:
        network: in evaluation mode on the CPU.
        weights: state dictionaries, one a fold; they are shared, not copied, and must stay as they are.
        window: shape of what the network is given, one window: (1, c, z, y, x), or (1, c, y, x).

    Raises:
        InferenceError: a network that cannot be converted.
    """

    def __init__(self, network: nn.Module, weights: Sequence[Mapping[str, Tensor]], window: Sequence[int]) -> None:
        self.weights, self.window = weights, tuple(window)
        self._compiled: dict[int, CompiledNetwork] = {}
        self._program = _attempt(_program, network, self.window)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self.weights):
            raise IndexError(index)
        if index not in self._compiled:
            self._compiled[index] = _attempt(_compiled, self._program, self.weights[index])
        return self._compiled[index]

    def __iter__(self) -> Iterator[nn.Module]:
        for index in range(len(self)):
            network = self[index]
            try:
                yield network
            finally:
                network.release()


class CompiledNetwork(nn.Module):
    """One fold's network, compiled for one window."""

    def __init__(self, compiled: Any) -> None:
        super().__init__()
        self.compiled = compiled

    def forward(self, windows: Tensor) -> Tensor:
        """What the network says of windows (b, c, z, y, x), or (b, c, y, x)."""
        found = [torch.from_numpy(self.compiled(one[None].contiguous().numpy())[0]) for one in windows]
        return torch.cat(found)

    def release(self) -> None:
        """Give back the memory that computing takes; it is fetched again with the next window."""
        self.compiled.release_memory()


def import_openvino() -> Any:
    """OpenVINO, without its telemetry.

    ``import openvino`` tells a server that it was imported, and leaves an identification in the home folder, unless the
    package ``openvino_telemetry`` is missing; so it is missing while OpenVINO is imported.
    """
    name = "openvino_telemetry"
    if "openvino" in sys.modules or name in sys.modules:  # somebody else's choice
        import openvino

        return openvino
    sys.modules[name] = None  # type: ignore[assignment]  # importing it raises ImportError
    try:
        import openvino
    finally:
        del sys.modules[name]
    return openvino


def _attempt(work: Any, *arguments: Any) -> Any:
    """A step of the conversion; whatever it raises becomes one line, and nothing that it warns of is shown."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with torch.inference_mode(False), torch.no_grad():
            return work(*arguments)
    except MemoryError:
        raise
    except Exception as error:  # torch.export and OpenVINO raise many types of their own
        reason = " ".join(str(error).split())[:300]
        raise InferenceError(
            f"OpenVINO cannot run the network ({type(error).__name__}: {reason}). Leave --backend openvino out."
        ) from error
    finally:
        logging.disable(level)


def _program(network: nn.Module, window: Sequence[int]) -> nn.Module:
    """The network as a graph of torch's basic operations, which takes its weights."""
    import_openvino()
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose

    exported = torch.export.export(network, (torch.zeros(*window),))
    rules: Any = torch.export.default_decompositions()
    for operation in ops_to_not_decompose():
        rules.pop(operation, None)
    rules[torch.ops.aten.instance_norm.default] = _instance_norm
    program: nn.Module = exported.run_decompositions(rules).module()
    return program


def _instance_norm(
    given: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """``aten::instance_norm``, made of what OpenVINO does not join to one sum."""
    if not use_input_stats:
        return NotImplemented  # then there are no sums, and the operation stays as it is
    apart = given - _mean(given)
    scale = torch.rsqrt(_mean(apart * apart) + eps)
    channels = (1, -1, *(1 for _ in given.shape[2:]))
    if weight is not None:
        scale = scale * weight.reshape(channels)
    return apart * scale if bias is None else apart * scale + bias.reshape(channels)


def _mean(values: Tensor) -> Tensor:
    """Mean of each channel; a product after each sum, without which OpenVINO would make them one."""
    for axis in range(values.ndim - 1, 1, -1):
        values = values.sum(axis, keepdim=True) * (1 / values.shape[axis])
    return values


def _compiled(program: nn.Module, weights: Mapping[str, Tensor]) -> CompiledNetwork:
    """A program with its weights, compiled for as many threads as torch uses."""
    openvino = import_openvino()
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    kinds = {key: value.dtype for key, value in program.state_dict().items()}
    program.load_state_dict({key: value.to(kinds[key]) for key, value in weights.items()}, assign=True)
    converted = openvino.convert_model(TorchFXPythonDecoder(program, dynamic_shapes=False))
    settings = {**PRECISE, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    return CompiledNetwork(_core().compile_model(converted, "CPU", settings))


@functools.cache
def _core() -> Any:
    return import_openvino().Core()
