"""Types of the names in `vendor`, as far as bispik uses them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Class = TypeVar("_Class", bound=type)

class InPort:
    shape: tuple[int, ...]

    def __init__(self, shape: tuple[int, ...]) -> None: ...
    def connect(self, ports: InPort) -> None: ...

class OutPort:
    shape: tuple[int, ...]

    def __init__(self, shape: tuple[int, ...]) -> None: ...
    def connect(self, ports: InPort | OutPort | Sequence[InPort]) -> None: ...
    def reshape(self, new_shape: tuple[int, ...]) -> OutPort: ...

class Var:
    def __init__(self, shape: tuple[int, ...], init: Any = 0) -> None: ...
    def alias(self, other_var: Var) -> None: ...
    def get(self) -> npt.NDArray[np.float64]: ...
    def set(self, value: npt.NDArray[Any]) -> None: ...

class ProcessParameters:
    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Any) -> None: ...
    def get(self, key: str, default: Any = None) -> Any: ...

class AbstractProcess:
    name: str
    id: int
    proc_params: ProcessParameters
    parent_proc: AbstractProcess | None
    model_class: type
    runtime: Any

    def __init__(self, **proc_params: Any) -> None: ...
    def compile(self, run_cfg: Loihi2SimCfg, compile_config: dict[str, Any]) -> Executable: ...
    def create_runtime(self, run_cfg: Loihi2SimCfg) -> None: ...
    def run(self, condition: RunSteps, run_cfg: Loihi2SimCfg) -> None: ...
    def stop(self) -> None: ...

class Dense(AbstractProcess):
    s_in: InPort
    a_out: OutPort

    def __init__(
        self,
        *,
        weights: npt.NDArray[np.int32],
        weight_exp: int,
        sign_mode: SignMode,
        num_message_bits: int,
        name: str,
    ) -> None: ...

class DelayDense(Dense):
    def __init__(
        self,
        *,
        weights: npt.NDArray[np.int32],
        weight_exp: int,
        sign_mode: SignMode,
        num_message_bits: int,
        name: str,
        delays: int,
    ) -> None: ...

class csr_matrix:  # noqa: N801
    def __init__(
        self,
        entries: tuple[npt.NDArray[Any], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
        shape: tuple[int, int],
    ) -> None: ...

class Sparse(AbstractProcess):
    s_in: InPort
    a_out: OutPort

    def __init__(
        self, *, weights: csr_matrix, weight_exp: int, sign_mode: SignMode, num_message_bits: int, name: str
    ) -> None: ...

class DelaySparse(Sparse):
    def __init__(
        self,
        *,
        weights: csr_matrix,
        weight_exp: int,
        sign_mode: SignMode,
        num_message_bits: int,
        name: str,
        delays: csr_matrix,
    ) -> None: ...

class Conv(AbstractProcess):
    s_in: InPort
    a_out: OutPort

    def __init__(
        self,
        *,
        weight: npt.NDArray[np.int32],
        input_shape: tuple[int, ...],
        padding: tuple[int, ...],
        stride: tuple[int, ...],
        dilation: tuple[int, ...],
        groups: int,
        num_message_bits: int,
        name: str,
    ) -> None: ...

class LIF(AbstractProcess):
    a_in: InPort
    s_out: OutPort
    u: Var
    v: Var
    bias_mant: Var

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        du: int,
        dv: int,
        vth: int,
        bias_mant: npt.NDArray[np.int32],
        bias_exp: npt.NDArray[np.int32],
        name: str,
    ) -> None: ...

class LIFReset(AbstractProcess):
    a_in: InPort
    s_out: OutPort
    v: Var

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        du: int,
        dv: int,
        vth: int,
        bias_mant: npt.NDArray[np.int32],
        bias_exp: npt.NDArray[np.int32],
        reset_interval: int,
        reset_offset: int,
        name: str,
    ) -> None: ...

class SignMode:
    MIXED: SignMode

class PyInPort:
    VEC_DENSE: type[PyInPort]

    def recv(self) -> npt.NDArray[np.int32]: ...

class PyOutPort:
    VEC_DENSE: type[PyOutPort]

    def send(self, data: npt.NDArray[Any]) -> None: ...

class PyLoihiProcessModel:
    time_step: int
    proc_params: ProcessParameters
    service_to_process: Any
    process_to_service: Any
    py_ports: list[Any]
    _cmd_handlers: dict[float, Callable[[], None]]

    def __init__(self, proc_params: ProcessParameters) -> None: ...
    def run_spk(self) -> None: ...

class PyLifModelBitAcc(PyLoihiProcessModel):
    a_in: PyInPort
    s_out: PyOutPort
    u: npt.NDArray[np.int32]
    v: npt.NDArray[np.int32]
    du: int
    dv: int
    effective_bias: npt.NDArray[np.int32]

    def subthr_dynamics(self, activation_in: npt.NDArray[np.int32]) -> None: ...
    def reset_voltage(self, spike_vector: npt.NDArray[np.bool_]) -> None: ...

class PyLifResetModelBitAcc(PyLoihiProcessModel):
    a_in: PyInPort
    s_out: PyOutPort
    u: npt.NDArray[np.int32]
    v: npt.NDArray[np.int32]
    dv: int
    effective_bias: npt.NDArray[np.int32]

    def subthr_dynamics(self, activation_in: npt.NDArray[np.int32]) -> None: ...
    def reset_voltage(self, spike_vector: npt.NDArray[np.bool_]) -> None: ...

class AbstractSubProcessModel: ...
class AbstractNcProcessModel: ...
class CLoihiProcessModel: ...
class LoihiProtocol: ...
class CPU: ...

class Loihi2SimCfg:
    def __init__(
        self,
        *,
        select_tag: str,
        select_sub_proc_model: bool,
        exception_proc_model_map: dict[type[AbstractProcess], type[PyLoihiProcessModel]],
    ) -> None: ...

class Loihi2HwCfg:
    def __init__(self, *, select_sub_proc_model: bool) -> None: ...

class ProcGroupDiGraphs:
    def __init__(self, proc: AbstractProcess, run_cfg: Loihi2HwCfg, compile_config: dict[str, Any]) -> None: ...
    def get_proc_groups(self) -> list[list[AbstractProcess]]: ...

class Executable:
    proc_builders: dict[AbstractProcess, PyProcessBuilder]
    channel_builders: list[Any]

    def assign_runtime_to_all_processes(self, runtime: Runtime) -> None: ...

class PyProcessBuilder:
    proc_params: ProcessParameters
    csp_rs_recv_port: dict[str, Any]

    def build(self) -> PyLoihiProcessModel: ...

class MGMT_COMMAND:  # noqa: N801
    GET_DATA: npt.NDArray[np.float64]
    SET_DATA: npt.NDArray[np.float64]

class ProcessServer:
    processes: list[AbstractProcess]

class VarServer:
    vars: list[Var]

class Proto:
    def __init__(self, shape: tuple[int, ...], dtype: type, nbytes: int) -> None: ...

class _CspPort:
    observer: Callable[[], None] | None
    _name: str
    _shape: tuple[int, ...]
    _dtype: type
    _nbytes: int
    _size: int
    _idx: int
    _shm: Any
    _req: Any
    _ack: Any
    _array: list[npt.NDArray[Any]]

    def __init__(self, name: str, shm: Any, proto: Proto, size: int, req: Any, ack: Any, *watchdogs: Any) -> None: ...
    def start(self) -> None: ...
    def probe(self) -> bool: ...
    def join(self) -> None: ...

class CspSendPort(_CspPort):
    def send(self, data: npt.NDArray[Any]) -> None: ...

class CspRecvPort(_CspPort):
    def recv(self) -> npt.NDArray[Any]: ...
    def peek(self) -> npt.NDArray[Any]: ...

class PyPyChannel:
    def __init__(
        self,
        infrastructure: Any,
        src_name: str,
        dst_name: str,
        shape: tuple[int, ...],
        dtype: type,
        size: int,
        *watchdogs: Any,
    ) -> None: ...

class MultiProcessing:
    _smm: Any
    _actors: list[Any]
    actors: list[Any]

    def build_actor(self, target_fn: Callable[..., None], builder: Any, exception_q: Any) -> Any: ...

class Runtime:
    runtime_to_service: list[CspSendPort]
    service_to_runtime: list[CspRecvPort]
    exception_q: list[Any]
    _messaging_infrastructure: Any
    _is_started: bool
    _is_running: bool

    def __init__(self, exe: Executable, message_infrastructure_type: Any) -> None: ...
    def initialize(self, node_cfg_idx: int = 0) -> None: ...
    def join(self) -> None: ...
    def start(self, run_condition: RunSteps) -> None: ...
    def stop(self) -> None: ...
    def _start_ports(self) -> None: ...

class RunSteps:
    def __init__(self, num_steps: int, blocking: bool) -> None: ...

class ActorType:
    MultiProcessing: Any

def LavaPyType(cls: type, d_type: type, precision: int) -> Any: ...  # noqa: N802
def implements(proc: type[AbstractProcess], protocol: type) -> Callable[[_Class], _Class]: ...
def requires(*resources: type) -> Callable[[_Class], _Class]: ...
def tag(*tags: str) -> Callable[[_Class], _Class]: ...
def loihi2_is_installed() -> bool: ...
