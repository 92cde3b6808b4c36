"""Where a model's tensors lie: a device and a number type. Runs inside Triton and in the check."""

import re
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Place:
    """A device and a type of floating-point numbers."""

    device: str
    dtype: torch.dtype

    def put(self, module):
        """``module`` at this place, ready to compute."""
        return module.to(device=self.device, dtype=self.dtype).eval()

    def tensor(self, array):
        """An array as a tensor here; only floating-point numbers change their type."""
        found = torch.as_tensor(array)
        return found.to(self.device, self.dtype if found.is_floating_point() else None)


def place_of(settings, instance=""):
    """The place of an instance, which Triton names ``model_0_3``: instances take turns on GPUs."""
    number = int((re.findall(r"\d+$", instance) or ["0"])[0])
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = f"cuda:{number % count}" if count else "cpu"
    return Place(device, getattr(torch, settings["dtype"]))


def loading(place):
    """Arguments of ``from_pretrained``: safetensors alone, and none of the checkpoint's code."""
    return {
        "dtype": place.dtype, "use_safetensors": True, "trust_remote_code": False,
        "local_files_only": True,
    }  # fmt: skip


def groups(items, size):
    """``items`` in lists of at most ``size``."""
    return [items[at : at + size] for at in range(0, len(items), size)]
