"""What tokens cost: on GPUs of one's own, and from an API."""

from trtbuild_measure.cost.breakeven import Comparison, compare, sensitivity
from trtbuild_measure.cost.model import Deployment, Mix, SelfHosted, self_hosted
from trtbuild_measure.cost.prices import (
    ApiPrice,
    GpuPrice,
    api_price,
    api_prices,
    gpu_price,
    gpu_prices,
)
from trtbuild_measure.cost.scaling import ParallelLayout, layouts, predict

__all__ = [
    "ApiPrice",
    "Comparison",
    "Deployment",
    "GpuPrice",
    "Mix",
    "ParallelLayout",
    "SelfHosted",
    "api_price",
    "api_prices",
    "compare",
    "gpu_price",
    "gpu_prices",
    "layouts",
    "predict",
    "self_hosted",
    "sensitivity",
]
