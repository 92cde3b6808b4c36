"""The versions in a Triton release, and what they accept, as data."""

from typing import TYPE_CHECKING

from trtbuild.lazy import exports
from trtbuild.toolchain.releases import BLS_FIXED, Toolchain, load, newest, releases

if TYPE_CHECKING:
    from trtbuild.toolchain.advisories import (
        Advisory,
        advisories_as_of,
        advisories_of,
        safe_since,
    )
    from trtbuild.toolchain.arguments import ArgumentGroup, Arguments, EngineArgument
    from trtbuild.toolchain.lora import (
        AdapterFault,
        architecture_fault,
        config_faults,
        lora_embeddings,
    )
    from trtbuild.toolchain.lora_weights import BaseModules, weight_faults
    from trtbuild.toolchain.onnxruntime import (
        OnnxRuntime,
        onnx_accelerators,
        onnx_contrib,
        onnx_operators,
        onnx_runtime,
        onnx_runtimes,
    )
    from trtbuild.toolchain.quantization import TRTLLM_LEAST_SM, Route, trtllm_route
    from trtbuild.toolchain.transformers import (
        Reading,
        transformers_architectures,
        trtllm_reading,
        vllm_reading,
    )
    from trtbuild.toolchain.trtllm import TrtllmRelease, trtllm_release, trtllm_versions
    from trtbuild.toolchain.vision import (
        VisionFamily,
        vision_families,
        vision_family,
        vision_of_table,
        vision_placeholders,
    )
    from trtbuild.toolchain.vllm import (
        VllmRelease,
        engine_arguments,
        vllm_release,
        vllm_versions,
    )

__all__ = [
    "BLS_FIXED",
    "TRTLLM_LEAST_SM",
    "AdapterFault",
    "Advisory",
    "ArgumentGroup",
    "Arguments",
    "BaseModules",
    "EngineArgument",
    "OnnxRuntime",
    "Reading",
    "Route",
    "Toolchain",
    "TrtllmRelease",
    "VisionFamily",
    "VllmRelease",
    "advisories_as_of",
    "advisories_of",
    "architecture_fault",
    "config_faults",
    "engine_arguments",
    "load",
    "lora_embeddings",
    "newest",
    "onnx_accelerators",
    "onnx_contrib",
    "onnx_operators",
    "onnx_runtime",
    "onnx_runtimes",
    "releases",
    "safe_since",
    "transformers_architectures",
    "trtllm_reading",
    "trtllm_release",
    "trtllm_route",
    "trtllm_versions",
    "vision_families",
    "vision_family",
    "vision_of_table",
    "vision_placeholders",
    "vllm_reading",
    "vllm_release",
    "vllm_versions",
    "weight_faults",
]

__getattr__ = exports(
    __name__,
    {
        "advisories": ("Advisory", "advisories_as_of", "advisories_of", "safe_since"),
        "arguments": ("ArgumentGroup", "Arguments", "EngineArgument"),
        "lora": ("AdapterFault", "architecture_fault", "config_faults", "lora_embeddings"),
        "lora_weights": ("BaseModules", "weight_faults"),
        "onnxruntime": (
            "OnnxRuntime",
            "onnx_accelerators",
            "onnx_contrib",
            "onnx_operators",
            "onnx_runtime",
            "onnx_runtimes",
        ),
        "quantization": ("TRTLLM_LEAST_SM", "Route", "trtllm_route"),
        "transformers": ("Reading", "transformers_architectures", "trtllm_reading", "vllm_reading"),
        "trtllm": ("TrtllmRelease", "trtllm_release", "trtllm_versions"),
        "vision": (
            "VisionFamily",
            "vision_families",
            "vision_family",
            "vision_of_table",
            "vision_placeholders",
        ),
        "vllm": ("VllmRelease", "engine_arguments", "vllm_release", "vllm_versions"),
    },
)
