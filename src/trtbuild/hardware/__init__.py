"""GPUs: those of a table, and those of this machine."""

from trtbuild.hardware.detection import DetectedGpu, detect
from trtbuild.hardware.table import GpuInfo, GpuTarget, gpu, gpus, native_from, recognise

__all__ = [
    "DetectedGpu",
    "GpuInfo",
    "GpuTarget",
    "detect",
    "gpu",
    "gpus",
    "native_from",
    "recognise",
]
