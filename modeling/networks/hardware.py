"""Which device and which arithmetic a network runs in."""

from __future__ import annotations

import time

import torch

from lake.errors import invalid
from modeling.networks.factory import LensFinder
from modeling.networks.inference import Arithmetic
from modeling.sections import ExecutionParams

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TIMED_STAMPS = 32
GAIN_NEEDED = 1.2
"""bf16 is taken when it is faster than fp32 by this factor."""


def device_of(params: ExecutionParams) -> torch.device:
    """The device asked for."""
    available = torch.cuda.is_available()
    if params.device == "cuda" and not available:
        raise invalid("execution.device", "cpu or auto if there is no GPU", params.device)
    return torch.device("cuda" if available and params.device != "cpu" else "cpu")


def choose_dtype(params: ExecutionParams, network: LensFinder, shape: tuple[int, ...], metadata_columns: int) -> str:
    """``fp32`` or ``bf16``; ``auto`` times a forward pass of stamps (band, y, x) where there are bf16 units at all."""
    if params.dtype != "auto":
        return params.dtype
    device = device_of(params)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return "fp32"
    x = torch.zeros(TIMED_STAMPS, *shape)
    metadata = torch.zeros(TIMED_STAMPS, metadata_columns) if metadata_columns else None
    seconds = {}
    for name, dtype in DTYPES.items():
        arithmetic = Arithmetic(device, dtype, params.channels_last)
        placed = arithmetic.place(network).eval()
        with torch.inference_mode():
            arithmetic.forward(placed, x, metadata)
            started = time.perf_counter()
            arithmetic.forward(placed, x, metadata)
            seconds[name] = time.perf_counter() - started
    return "bf16" if seconds["bf16"] * GAIN_NEEDED < seconds["fp32"] else "fp32"
