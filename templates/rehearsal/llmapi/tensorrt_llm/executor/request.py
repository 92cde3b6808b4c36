"""What a request names."""

from dataclasses import dataclass


@dataclass
class LoRARequest:
    """A LoRA adapter by name, number and directory."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
