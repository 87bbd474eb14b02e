# ruff: noqa: E402, F401
# pyright: reportUnusedImport=false
"""Every name of Lava's that bispik uses, in one place; `vendor.pyi` has the types, which Lava does not declare.

Importing this module imports Lava (`bispik.backends.lava.compat.import_lava`). The runtime's private parts are used
only in `runtime`, `workers` and `channels`; 0.10.0 is Lava's last release, so they do not move.
"""

from bispik.backends.lava.compat import import_lava

import_lava()

from lava.magma.compiler.builders.py_builder import PyProcessBuilder
from lava.magma.compiler.channels.pypychannel import CspRecvPort, CspSendPort, Proto, PyPyChannel
from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs
from lava.magma.compiler.executable import Executable
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.message_interface_enum import ActorType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess, ProcessParameters, ProcessServer
from lava.magma.core.process.variable import Var, VarServer
from lava.magma.core.resources import CPU
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import (
    AbstractNcProcessModel,  # pyright: ignore[reportAttributeAccessIssue]
    CLoihiProcessModel,  # pyright: ignore[reportAttributeAccessIssue]
    Loihi2HwCfg,
    Loihi2SimCfg,
)
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.magma.runtime.message_infrastructure.multiprocessing import MultiProcessing
from lava.magma.runtime.mgmt_token_enums import MGMT_COMMAND
from lava.magma.runtime.runtime import Runtime
from lava.proc.conv.process import Conv
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.lif.models import PyLifModelBitAcc, PyLifResetModelBitAcc
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.loihi import is_installed as loihi2_is_installed
from lava.utils.weightutils import SignMode
from scipy.sparse import csr_matrix
