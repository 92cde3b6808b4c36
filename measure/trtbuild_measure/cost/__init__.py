"""What tokens cost: on GPUs of one's own, and from an API."""

from trtbuild.cost.breakeven import Comparison, compare, sensitivity
from trtbuild.cost.model import Deployment, Mix, SelfHosted, self_hosted
from trtbuild.cost.prices import ApiPrice, GpuPrice, api_price, api_prices, gpu_price, gpu_prices
from trtbuild.cost.scaling import ParallelLayout, layouts, predict

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
