"""The base class of handlers: it loads the model, and calls it between two steps of theirs."""

import importlib
import json
from abc import ABC
from pathlib import Path

import numpy as np

from ts.graph import Graph
from ts.utils.util import list_classes_from_module, load_label_mapping


class BaseHandler(ABC):
    """Preprocess, inference, postprocess."""

    def __init__(self):
        self.model = None
        self.mapping = None
        self.device = None
        self.map_location = None
        self.initialized = False
        self.context = None
        self.manifest = None
        self.model_pt_path = None
        self.model_yaml_config = {}

    def initialize(self, context):
        """Load the model: the graph beside, TorchScript, or a class with its weights."""
        properties = context.system_properties
        folder = Path(properties["model_dir"])
        self.context, self.manifest = context, context.manifest
        self.model_yaml_config = context.model_yaml_config or {}
        self.mapping = load_label_mapping(folder / "index_to_name.json")
        self.map_location = "cpu" if properties["gpu_id"] is None else "cuda"
        self.device = self.map_location
        if Graph.current is not None:
            self.model, self.device = Graph.current, "cpu"
        else:
            import torch

            index = "" if self.map_location == "cpu" else f":{properties['gpu_id']}"
            self.device = torch.device(f"{self.map_location}{index}")
            self.model = self._loaded(folder, self.manifest["model"]).to(self.device).eval()
        self.initialized = True

    def _loaded(self, folder, named):
        import torch

        weights = named.get("serializedFile")
        self.model_pt_path = str(folder / weights) if weights else None
        if not named.get("modelFile"):
            return torch.jit.load(self.model_pt_path, map_location=self.device)
        module = importlib.import_module(Path(named["modelFile"]).stem)
        classes = list_classes_from_module(module)
        if len(classes) != 1:
            raise ValueError(f"{named['modelFile']} has {len(classes)} classes, not one")
        model = classes[0]()
        if weights:
            state = torch.load(self.model_pt_path, map_location=self.device, weights_only=True)
            model.load_state_dict(state)
        return model

    def preprocess(self, data):
        """Return the bodies as one array: lists of numbers, or JSON text of them."""
        return np.stack([np.asarray(_numbers(row), dtype=np.float32) for row in data])

    def inference(self, data, *args, **kwargs):
        """Call the model."""
        if Graph.current is not None:
            return self.model(data, *args, **kwargs)
        import torch

        with torch.inference_mode():
            return self.model(torch.as_tensor(data).to(self.device), *args, **kwargs)

    def postprocess(self, data):
        """Return a list with an answer for each row."""
        return data.tolist()

    def handle(self, data, context):
        """Answer a batch."""
        self.context = context
        return self.postprocess(self.inference(self.preprocess(data)))


def _numbers(row):
    body = row.get("data") if row.get("data") is not None else row.get("body")
    return json.loads(body) if isinstance(body, (bytes, bytearray, str)) else body
