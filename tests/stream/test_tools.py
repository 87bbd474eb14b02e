"""Networks made and exported by the tools themselves: ours gives the tool's own spikes, step by step.

The last SpikingJelly for Python 3.10 has no NIR exporter: `spikingjelly_node` has the formulas of 2.0.0's
(``activation_based/nir_exchange/to_nir.py``), which runs here too where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import norse.torch as norse
import numpy as np
import pytest
import snntorch as typed_snntorch
import torch
from norse.torch.functional.lif import LIFParameters
from norse.torch.functional.lif_box import LIFBoxParameters
from norse.torch.functional.reset import reset_subtract
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import import_from_nir
from spikingjelly.activation_based import functional, neuron

from bispik.backends.stream.run import run_stream
from bispik.backends.stream.verify import verify_stream
from bispik.compiler.stream.network import StreamNetwork, StreamReset
from bispik.compiler.stream.quantize import StreamOptions, quantize_stream
from tests.stream.nir_files import Array, nir, read, sent
from tests.stream.nir_files import write as write_nodes

pytestmark = [
    pytest.mark.filterwarnings("ignore:nirtorch:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*non-leaf Tensor.*:UserWarning"),
]

STEPS = 60

snntorch: Any = typed_snntorch
"""Its annotations ask for numbers where its NIR export needs tensors."""


def spikes(*shape: int) -> torch.Tensor:
    return (torch.rand(STEPS, *shape, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def layer(made: Any, gain: float) -> Any:
    """Make a layer's weights large enough for spikes."""
    made.weight.data *= gain
    return made


def linear(inputs: int, outputs: int, gain: float = 3.0) -> Any:
    return layer(torch.nn.Linear(inputs, outputs), gain)


def full(value: float, *shape: int) -> torch.Tensor:
    return torch.full(shape, value)


def stepped(step: Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]], values: torch.Tensor) -> Array:
    """Run a network that takes and gives its state."""
    state, rows = None, []
    with torch.no_grad():
        for value in values:
            output, state = step(value, state)
            rows.append(output.numpy().ravel().copy())
    return np.array(rows)


def assert_same_spikes(found: Array, expected: Array) -> None:
    assert 0.01 < expected.mean() < 0.9
    np.testing.assert_array_equal(found, expected)


# --- norse ------------------------------------------------------------------------------------------------------------


def norse_lif(n: int) -> Any:
    leak = torch.linspace(-0.1, 0.2, n)
    return norse.LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.linspace(80, 300, n), v_leak=leak, v_th=full(0.3, n)))


def norse_cuba(n: int) -> Any:
    taus = {"tau_syn_inv": torch.linspace(150, 300, n), "tau_mem_inv": torch.linspace(80, 200, n)}
    return norse.LIFCell(LIFParameters(**taus, v_leak=full(0.0, n), v_th=full(0.2, n)))


def test_norse(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = norse.SequentialState(linear(5, 7), norse_lif(7), linear(7, 6), norse_cuba(6))
    nir.write(tmp_path / "net.nir", norse.to_nir(net, torch.zeros(5)))
    network = read(tmp_path / "net.nir", "norse")
    assert network.dt == 1e-3
    assert_same_spikes(sent(network, spikes(5).numpy()), stepped(net, spikes(5)))


def test_the_membrane_of_norse(tmp_path: Path) -> None:
    torch.manual_seed(0)
    readout = norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=full(150.0, 3), v_leak=full(0.1, 3)))
    net = norse.SequentialState(linear(5, 7), norse_lif(7), linear(7, 3), readout)
    nir.write(tmp_path / "net.nir", norse.to_nir(net, torch.zeros(5)))
    found = sent(read(tmp_path / "net.nir", "norse"), spikes(5).numpy())
    np.testing.assert_allclose(found, stepped(net, spikes(5)), rtol=1e-4, atol=1e-5)


def test_norse_convolutions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.Conv2d(3, 4, 3, stride=2)
    iaf = norse.IAFCell(norse.IAFParameters(v_th=full(1.0, 3, 8, 8)))
    shape = (4, 3, 3)
    box = norse.LIFBoxCell(
        LIFBoxParameters(tau_mem_inv=full(100.0, *shape), v_leak=full(0.0, *shape), v_th=full(0.1, *shape))
    )
    net = norse.SequentialState(layer(first, 3), iaf, layer(second, 3), box)
    graph: Any = norse.to_nir(net, torch.zeros(2, 8, 8))
    graph.infer_types()  # norse leaves input_shape open, which nir.write does not take
    nir.write(tmp_path / "net.nir", graph)
    network = read(tmp_path / "net.nir", "norse")
    assert [p.shape for p in network.populations] == [(3, 8, 8), (4, 3, 3)]
    assert_same_spikes(sent(network, spikes(2, 8, 8).numpy()), stepped(net, spikes(2, 8, 8)))


def test_norse_with_its_other_reset(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cell = norse_lif(7)
    cell.p = cell.p._replace(reset_method=reset_subtract, v_leak=full(0.0, 7))
    net = norse.SequentialState(linear(5, 7, 6), cell)
    nir.write(tmp_path / "net.nir", norse.to_nir(net, torch.zeros(5)))
    found = sent(read(tmp_path / "net.nir", "norse", reset="soft"), spikes(5).numpy())
    assert_same_spikes(found, stepped(net, spikes(5)))


def test_norse_reads_its_file_alike_once_its_scaling_is_undone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = norse.SequentialState(linear(5, 7), norse_lif(7))
    graph = norse.to_nir(net, torch.zeros(5))
    nir.write(tmp_path / "net.nir", graph)
    back = norse.from_nir(nir.read(tmp_path / "net.nir"), dt=1e-6)
    found = sent(read(tmp_path / "net.nir", "norse"), spikes(5).numpy())
    assert_same_spikes(found, stepped(back, spikes(5)))


# --- snnTorch ---------------------------------------------------------------------------------------------------------


def leaky(*shape: int, beta: float = 0.9, **options: Any) -> Any:
    return snntorch.Leaky(beta=full(beta, *shape), threshold=full(1.0, *shape), init_hidden=True, **options)


def synaptic(n: int, **options: Any) -> Any:
    rates = {"alpha": torch.linspace(0.5, 0.8, n), "beta": full(0.8, n), "threshold": full(1.0, n)}
    return snntorch.Synaptic(**rates, init_hidden=True, output=True, **options)


def rleaky(n: int, **options: Any) -> Any:
    return snntorch.RLeaky(beta=full(0.9, n), threshold=full(1.0, n), init_hidden=True, **options)


def rsynaptic(n: int) -> Any:
    rates = {"alpha": full(0.7, n), "beta": full(0.8, n), "threshold": full(1.0, n)}
    return snntorch.RSynaptic(**rates, linear_features=n, init_hidden=True, output=True)


def snntorch_layers(name: str) -> tuple[tuple[int, ...], list[torch.nn.Module], StreamReset]:
    zero: dict[str, Any] = {"reset_mechanism": "zero"}
    now = zero | {"reset_delay": False}
    if name == "soft":
        return (5,), [linear(5, 7), leaky(7), linear(7, 6), synaptic(6)], "soft"
    if name == "hard":
        return (5,), [linear(5, 7), leaky(7, **zero), linear(7, 6), synaptic(6, **now)], "hard"
    if name == "none":
        return (5,), [linear(5, 7), leaky(7, reset_mechanism="none", output=True)], "none"
    if name == "convolutional":
        convolution, dense = layer(torch.nn.Conv2d(2, 3, 3), 3), linear(27, 6, 4)
        pooled = [leaky(3, 6, 6), torch.nn.AvgPool2d(2), torch.nn.Flatten()]
        return (2, 8, 8), [convolution, *pooled, dense, leaky(6, output=True)], "soft"
    if name == "one to one":
        return (5,), [linear(5, 6), rleaky(6, all_to_all=False, V=torch.rand(6), output=True)], "soft"
    return (5,), [linear(5, 6), rleaky(6, linear_features=6), linear(6, 4), rsynaptic(4)], "soft"


def run_snntorch(net: torch.nn.Module, values: torch.Tensor) -> Array:
    for module in net.modules():
        if hasattr(module, "reset_mem"):
            module.reset_mem()  # type: ignore[operator]

    def step(value: torch.Tensor, _: object) -> tuple[torch.Tensor, None]:
        output = net(value[None])
        return (output[0] if isinstance(output, tuple) else output), None

    return stepped(step, values)


@pytest.mark.parametrize("name", ["soft", "hard", "none", "convolutional", "recurrent", "one to one"])
def test_snntorch(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    shape, layers, reset = snntorch_layers(name)
    net = torch.nn.Sequential(*layers)
    nir.write(tmp_path / "net.nir", export_to_nir(net, torch.zeros(1, *shape), ignore_dims=[0]))
    network = read(tmp_path / "net.nir", "snntorch", reset=reset)
    assert network.input.shape == shape
    assert network.dt == 1e-4
    assert_same_spikes(sent(network, spikes(*shape).numpy()), run_snntorch(net, spikes(*shape)))


def test_snntorch_reads_its_file_as_a_hard_reset(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(linear(5, 7), leaky(7), linear(7, 6), synaptic(6))
    nir.write(tmp_path / "net.nir", export_to_nir(net, torch.zeros(1, 5), ignore_dims=[0]))
    back = import_from_nir(nir.read(tmp_path / "net.nir"))
    found = sent(read(tmp_path / "net.nir", "snntorch", reset="hard"), spikes(5).numpy())
    assert_same_spikes(found, run_snntorch(back, spikes(5)))


# --- SpikingJelly -----------------------------------------------------------------------------------------------------


def spikingjelly_node(module: torch.nn.Module, shape: tuple[int, ...]) -> Any:
    """Return the node that SpikingJelly 2.0.0 writes for a module that gives a shape, at its own dt."""
    dt = 1e-4
    weights = {key: value.detach().numpy() for key, value in module.named_parameters()}
    if isinstance(module, torch.nn.Linear):
        return nir.Affine(**weights)
    if isinstance(module, torch.nn.Conv2d):
        return nir.Conv2d(
            input_shape=None if len(shape) < 3 else shape[1:], **weights, stride=1, padding=1, dilation=1, groups=1
        )
    if isinstance(module, torch.nn.AvgPool2d):
        return nir.AvgPool2d(kernel_size=module.kernel_size, stride=module.stride, padding=module.padding)
    if isinstance(module, torch.nn.Flatten):
        return nir.Flatten(input_type=np.array([3, 4, 4]), start_dim=0, end_dim=-1)
    assert isinstance(module, neuron.IFNode | neuron.LIFNode)
    levels = {"v_threshold": np.full(shape, module.v_threshold), "v_reset": np.full(shape, module.v_reset)}
    if isinstance(module, neuron.IFNode):
        return nir.IF(r=np.full(shape, 1 / dt), **levels)
    r = 1.0 if module.decay_input else module.tau
    return nir.LIF(tau=np.full(shape, module.tau * dt), r=np.full(shape, r), v_leak=levels["v_reset"], **levels)


def write_spikingjelly(folder: Path, net: Iterable[torch.nn.Module], shape: tuple[int, ...]) -> Path:
    nodes: dict[str, Any] = {"input_1": nir.Input(np.array(shape))}
    value = torch.zeros(1, *shape)
    for index, module in enumerate(net):
        value = module(value)
        nodes[f"_{index}"] = spikingjelly_node(module, tuple(value.shape[1:]))
    nodes["output"] = nir.Output(np.array(value.shape[1:]))
    return write_nodes(folder, nodes, " ".join(nodes))


@pytest.mark.parametrize("convolutional", [False, True])
def test_spikingjelly(tmp_path: Path, convolutional: bool) -> None:
    torch.manual_seed(0)
    if convolutional:
        shape: tuple[int, ...] = (2, 8, 8)
        maps = [layer(torch.nn.Conv2d(2, 3, 3, padding=1), 4), neuron.IFNode(), torch.nn.AvgPool2d(2)]
        net = torch.nn.Sequential(*maps, torch.nn.Flatten(), linear(48, 10, 8), neuron.LIFNode(tau=2.0, v_reset=-0.2))
    else:
        shape = (5,)
        exact = torch.nn.Linear(5, 5)  # membranes of exactly the threshold, which spike
        exact.weight.data, exact.bias.data = 0.5 * torch.eye(5), torch.zeros(5)
        one = neuron.LIFNode(tau=2.0, decay_input=False, v_reset=0.0, v_threshold=0.5)
        net = torch.nn.Sequential(exact, one, linear(5, 6, 8), neuron.LIFNode(tau=3.0, v_reset=0.1))
    net.eval()
    with torch.no_grad():
        path = write_spikingjelly(tmp_path, net, shape)
    functional.reset_net(net)
    expected = stepped(lambda value, _: (net(value[None]), None), spikes(*shape))
    network = read(path, "spikingjelly")
    assert network.dt == 1e-4
    assert_same_spikes(sent(network, spikes(*shape).numpy()), expected)


@pytest.mark.parametrize("convolutional", [False, True])
def test_spikingjelly_exports_itself(tmp_path: Path, convolutional: bool) -> None:
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason="needs Python 3.11 or later")
    torch.manual_seed(0)
    kinds: Any = neuron
    cuba = kinds.CUBALIFNode(c_decay=0.5, v_decay=0.8, v_threshold=1.0, v_reset=0.0)
    if convolutional:
        shape: tuple[int, ...] = (2, 8, 8)
        maps = [layer(torch.nn.Conv2d(2, 3, 3, padding=1), 4), neuron.IFNode(), torch.nn.AvgPool2d(2)]
        net = torch.nn.Sequential(*maps, torch.nn.Flatten(), linear(48, 10, 8), cuba)
    else:
        shape = (5,)
        net = torch.nn.Sequential(linear(5, 6, 8), neuron.LIFNode(tau=3.0, v_reset=0.1), linear(6, 6), cuba)
    net.eval()
    functional.reset_net(net)
    expected = stepped(lambda value, _: (net(value[None]), None), spikes(*shape))
    functional.reset_net(net)
    nir.write(tmp_path / "net.nir", exchange.export_to_nir(net, torch.zeros(1, *shape)))
    assert_same_spikes(sent(read(tmp_path / "net.nir", "spikingjelly"), spikes(*shape).numpy()), expected)


# --- from a tool's network to integers --------------------------------------------------------------------------------


def exported(folder: Path, name: str) -> tuple[StreamNetwork, tuple[int, ...]]:
    """A network that a tool made and exported, as we read it, and the shape of its input."""
    torch.manual_seed(0)
    tool, form = name.split(", ")
    if tool == "norse":
        net = norse.SequentialState(linear(5, 7), norse_lif(7), linear(7, 6), norse_cuba(6))
        nir.write(folder / "net.nir", norse.to_nir(net, torch.zeros(5)))
        return read(folder / "net.nir", "norse"), (5,)
    if tool == "snntorch":
        shape, layers, reset = snntorch_layers(form)
        graph = export_to_nir(torch.nn.Sequential(*layers), torch.zeros(1, *shape), ignore_dims=[0])
        nir.write(folder / "net.nir", graph)
        return read(folder / "net.nir", "snntorch", reset=reset), shape
    maps = [layer(torch.nn.Conv2d(2, 3, 3, padding=1), 4), neuron.IFNode(), torch.nn.AvgPool2d(2)]
    net = torch.nn.Sequential(*maps, torch.nn.Flatten(), linear(48, 10, 8), neuron.LIFNode(tau=2.0, v_reset=-0.2))
    with torch.no_grad():
        return read(write_spikingjelly(folder, net.eval(), (2, 8, 8)), "spikingjelly"), (2, 8, 8)


@pytest.mark.parametrize(
    "name",
    ["norse, dense", "snntorch, hard", "snntorch, recurrent", "snntorch, convolutional", "spikingjelly, convolutional"],
)
def test_their_networks_are_the_same_integers_everywhere(tmp_path: Path, name: str) -> None:
    network, shape = exported(tmp_path, name)
    program = quantize_stream(network, StreamOptions(neuron_program="bispik"))
    values = spikes(*shape).numpy().reshape(STEPS, -1).astype(np.int32)
    runs = [run_stream(program, values, backend) for backend in ("reference", "sim", "lava")]
    for ran in runs[1:]:
        np.testing.assert_array_equal(ran.output, runs[0].output, ran.backend)
    assert runs[0].output.any()
    verification = verify_stream(network, program, [values], "random spikes")
    assert 0.9 < verification.spike_agreement <= 1
