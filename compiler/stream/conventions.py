"""How the tools that write NIR files run them: what a file does not say, tool by tool, with where it was looked up.

NIR gives equations in continuous time. A time step, a discretisation, the reset's kind and moment, and what happens at
exactly the threshold are each tool's own. Sources are files and lines of the named versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from bispik.compiler.graph import Fire
from bispik.compiler.stream.network import Discretisation, StreamReset
from bispik.models.errors import BispikError

EVERY_NEURON = ("I", "IF", "LI", "LIF", "CubaLI", "CubaLIF")


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """What one tool means by what it writes."""

    name: str
    dt: float | None
    """Seconds per time step unless the user or the file says otherwise; None: there is no usual one."""
    steps_as_seconds: bool = False
    """Time constants are counted in time steps: dt is 1 and cannot be another."""
    fire: Fire
    reset: StreamReset | None
    """What a spike does unless the user says otherwise; None: the file loses it, and the user must say."""
    resets: tuple[StreamReset, ...]
    """What the user may say."""
    soft_at_once: bool = True
    """A soft reset subtracts in the spike's own step, so that the next decay shrinks it; else a step later, whole."""
    discretisation: Discretisation = "euler"
    tau_times_dt: bool = False
    """The file's time constants are dt times the real ones."""
    current_gain_one: bool = False
    """A CubaLIF adds its input to its current as it is, where NIR says dt / tau_syn of it."""
    integrates_per_step: bool = False
    """I and IF add their input once a step, where NIR says dt times it."""
    leak_input_whole: bool = False
    """LI adds its input as it is, where NIR says a share of it (sinabs: ``norm_input=False``)."""
    spike_of_unit_area: bool = False
    """A spike of a LIF is 1 / dt high."""
    initial: Literal["leak", "reset", "zero"]
    """Membrane at the start; neurons without a leak that start at it start at the reset value."""
    unit_r: bool = False
    """The tool writes r = 1 and knows no other."""
    neurons: tuple[str, ...] = EVERY_NEURON
    """Types of neurons that it writes."""
    notes: str = ""
    """What its files lose, and where it runs otherwise; said in the program's origin."""
    sources: tuple[str, ...] = field(default=())


NIR = Convention(
    name="NIR",
    dt=None,
    fire="gt",
    reset="hard",
    resets=("hard", "soft", "none"),
    initial="leak",
    sources=("nir 1.0.8 ir/neuron.py: equations, v > v_threshold, v = v_reset",),
)
"""NIR's own equations, discretised: what is meant by a time step alone."""

CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            Convention(
                name="norse",
                dt=1e-3,
                fire="gt",
                reset="hard",
                resets=("hard", "soft"),
                tau_times_dt=True,
                current_gain_one=True,
                integrates_per_step=True,
                initial="leak",
                unit_r=True,
                neurons=("IF", "LI", "LIF", "CubaLIF"),
                notes="norse's files hold dt times the time constants (norse #411), lose v_reset (taken as 0) and the "
                "reset method (taken as reset_value)",
                sources=(
                    "norse 1.1.0 torch/utils/export_nir.py:27-52 (dt / tau_inv, r = 1, no w_in, no v_reset)",
                    "norse 1.1.0 torch/functional/lif_box.py:95-101 (Euler, v_th exceeded, reset_method at once)",
                    "norse 1.1.0 torch/functional/lif.py:335-345 (new current, input not scaled)",
                    "norse 1.1.0 torch/functional/iaf.py:93-97 (v + input), heaviside.py:20 (> 0)",
                    "norse 1.1.0 torch/module/lif_box.py:46-49 (starts at v_leak), iaf.py:34-45 (at v_reset)",
                ),
            ),
            Convention(
                name="snntorch",
                dt=1e-4,
                fire="gt",
                reset=None,
                resets=("hard", "soft", "none"),
                soft_at_once=False,
                initial="zero",
                neurons=("LIF", "CubaLIF"),
                notes="snnTorch's files lose reset_mechanism, reset_delay and graded_spikes_factor; a soft reset is "
                "taken as its 'subtract' with reset_delay=True (one step later, whole), a hard one as 'zero' with "
                "reset_delay=False, which is how it reads the file itself: Synaptic, RLeaky and RSynaptic with 'zero' "
                "and reset_delay=True lose their input of the step behind a spike too, and are not what runs here",
                sources=(
                    "snntorch 1.0.0 export_nir.py:67-85 (dt = 1e-4, r = tau / dt), :94-117 (w_in = tau_syn / dt)",
                    "snntorch 1.0.0 _neurons/leaky.py:209-247 (mem_reset of the step before; beta * mem + input)",
                    "snntorch 1.0.0 _neurons/synaptic.py:266-289 (new current), rleaky.py:394-408 (own last spikes)",
                    "snntorch 1.0.0 import_nir.py:242-277 (zero, reset_delay=False), surrogate.py (> 0)",
                ),
            ),
            Convention(
                name="spikingjelly",
                dt=1e-4,
                fire="ge",
                reset="hard",
                resets=("hard",),
                initial="reset",
                neurons=("IF", "LIF", "CubaLIF"),
                notes="SpikingJelly writes no soft reset",
                sources=(
                    "spikingjelly 2.0.0 activation_based/nir_exchange/to_nir.py:186-247 (dt; r = 1 / dt, 1 or tau)",
                    "spikingjelly 2.0.0 activation_based/functional/neuron.py:1732-1736 (new current)",
                    "spikingjelly 2.0.0 activation_based/surrogate.py:59 (x >= 0)",
                    "spikingjelly 2.0.0 activation_based/neuron/base_node.py:341-344 (starts at v_reset)",
                ),
            ),
            Convention(
                name="sinabs",
                dt=1.0,
                steps_as_seconds=True,
                fire="ge",
                reset="soft",
                resets=("soft", "hard"),
                discretisation="exponential",
                integrates_per_step=True,
                leak_input_whole=True,
                initial="zero",
                unit_r=True,
                neurons=("IF", "LI", "LIF"),
                notes="sinabs counts time constants in steps; at most one spike a step (its SingleSpike: its default, "
                "MultiSpike, sends several where a membrane reaches a multiple of the threshold); its files lose "
                "spike_fn, reset_fn (taken as MembraneSubtract), min_v_mem and tau_syn (taken as none) and "
                "norm_input (taken as the layers' defaults: True for LIF, False for ExpLeak)",
                sources=(
                    "sinabs 3.1.3 nir.py:156-180 (what is written), layers/lif.py:116-121 (exp(-1 / tau))",
                    "sinabs 3.1.3 layers/functional/lif.py:19-53 (order of decay, input, spike, reset)",
                    "sinabs 3.1.3 activation/spike_generation.py:39, 122 (v >= threshold)",
                    "sinabs 3.1.3 layers/lif.py:72 and exp_leak.py:35 (norm_input)",
                ),
            ),
            Convention(
                name="lava",
                dt=1e-4,
                fire="gt",
                reset="hard",
                resets=("hard",),
                integrates_per_step=True,
                initial="zero",
                neurons=("IF", "LIF", "CubaLIF"),
                notes="Lava and lava-dl have no NIR exporter: this is how the NIR paper's script runs a file on Lava",
                sources=(
                    "neuromorphs/NIR paper/nir_to_lava.py (dt = 1e-4; du = dt / tau_syn, dv = dt / tau_mem)",
                    "lava-nc 0.10.0 proc/lif/models.py:45-57 (new current; reset at once, to 0)",
                    "lava-dl 0.6.0 slayer/neuron/cuba.py:131-134 (threshold_eps makes >= into >)",
                ),
            ),
            Convention(
                name="nengo",
                dt=1e-3,
                fire="gt",
                reset="hard",
                resets=("hard",),
                discretisation="exponential",
                integrates_per_step=True,
                spike_of_unit_area=True,
                initial="zero",
                unit_r=True,
                neurons=("IF", "LIF"),
                notes="not exactly as Nengo: it resets at the spike's own moment within a step (here at the step's "
                "end), and its membranes do not go below 0 (here they do)",
                sources=(
                    "nengo 4.1.0 neurons.py:667-699 (expm1, > 1, 1 / dt, rest of the step, min_voltage)",
                    "neuromorphs/NIR paper/02_cnn/nir_to_nengo.py (dt = 1e-3; an IF's spikes are 1 high)",
                ),
            ),
        )
    }
)
"""By name, as ``--convention`` takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A convention with everything decided."""

    convention: Convention
    dt: float
    reset: StreamReset
    discretisation: Discretisation

    @property
    def origin(self) -> str:
        """What gave the network its meaning, in words."""
        tool = self.convention
        meaning = "NIR's own equations" if tool is NIR else f"{tool.name}'s convention"
        time = "one step as the unit of time" if tool.steps_as_seconds else f"dt = {self.dt:g} s"
        crossing = "at or above" if tool.fire == "ge" else "above"
        how = f"{time}, {self.discretisation} decay, a spike {crossing} the threshold, {self.reset} reset"
        return f"{meaning}: {how}" + (f"; {tool.notes}" if tool.notes else "")


def decide(
    file: str,
    *,
    convention: str | None,
    dt: float | None,
    file_dt: float | None,
    reset: StreamReset | None,
    discretisation: Discretisation | None,
) -> Rules:
    """Decide what a file means by what the user and the file say.

    Args:
        file: what errors call the file.
        convention: name of a tool; None: NIR's own equations.
        dt: seconds per step, as the user says.
        file_dt: as the file says.
        reset: as the user says.
        discretisation: as the user says.

    Raises:
        BispikError: if anything stays open or contradicts; it lists what the known tools assume.
    """
    if convention is not None and convention not in CONVENTIONS:
        raise BispikError(f"--convention {convention}: no such tool is known; there are {', '.join(CONVENTIONS)}")
    tool = NIR if convention is None else CONVENTIONS[convention]
    return Rules(
        convention=tool,
        dt=_time_step(file, tool, dt, file_dt),
        reset=_reset(file, tool, reset),
        discretisation=discretisation or tool.discretisation,
    )


def _time_step(file: str, tool: Convention, dt: float | None, file_dt: float | None) -> float:
    if dt is not None and not 0 < dt < float("inf"):
        raise BispikError(f"--dt {dt}: expected seconds per time step, above 0")
    if tool.steps_as_seconds:
        if dt is not None:
            raise BispikError(f"--dt {dt:g}: {tool.name} counts time constants in steps; leave --dt out")
        assert tool.dt is not None
        return tool.dt
    if dt is not None and file_dt is not None and abs(dt - file_dt) > 1e-6 * file_dt:
        raise BispikError(f"{file}: its metadata say dt = {file_dt:g} s, but --dt is {dt:g}; leave --dt out")
    chosen = dt if dt is not None else file_dt if file_dt is not None else tool.dt
    if chosen is None:
        known = "; ".join(_described(other) for other in CONVENTIONS.values())
        raise BispikError(
            f"{file}: the file does not say how long a time step is, without which its neurons have no meaning. Say "
            f"which tool wrote it (--convention), or the seconds per step (--dt) for NIR's own equations. {known}"
        )
    return chosen


def _described(tool: Convention) -> str:
    time = "time constants in steps" if tool.steps_as_seconds else f"dt {tool.dt:g} s"
    resets = " or ".join(tool.resets)
    return f"{tool.name}: {time}, {tool.discretisation}" + (
        f", and --reset {resets}, which its files lose" if tool.reset is None else f", {tool.reset} reset"
    )


def _reset(file: str, tool: Convention, reset: StreamReset | None) -> StreamReset:
    if reset is None:
        if tool.reset is None:
            raise BispikError(
                f"{file}: {tool.name}'s files do not say what a spike does to the membrane; say it: --reset "
                f"{' or '.join(tool.resets)} (its reset_mechanism: zero is hard, subtract is soft, none is none)"
            )
        return tool.reset
    if reset not in tool.resets:
        raise BispikError(f"--reset {reset}: {tool.name} has none; it has {', '.join(tool.resets)}")
    return reset
