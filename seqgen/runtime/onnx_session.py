"""Sessions of onnxruntime over the graphs of a bundle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.files.inputs import in_utf8

if TYPE_CHECKING:
    import onnxruntime


def session(bundle: Bundle, name: str, threads: int) -> onnxruntime.InferenceSession:
    """A session over one graph of a bundle, whose calls may use so many cores.

    Raises:
        SeqgenError: where the bundle has no such graph, or onnxruntime cannot load it.
    """
    # Since 1.31 onnxruntime reports home unless this stands before it is loaded. A bundle tells nobody anything.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads asleep between the operators of a chunk share it badly; those that spin between chunks burn a core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Weights in 8 bits become float32 when a graph is loaded, not in every call.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    path = bundle.path(name)
    try:
        with in_utf8(path.parent) as folder:
            place = f"{folder}/{path.name}"
            return onnxruntime.InferenceSession(place, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exception types have no public base
        raise SeqgenError(f"{path}: onnxruntime cannot load it ({error})", remedy="export it again") from error
