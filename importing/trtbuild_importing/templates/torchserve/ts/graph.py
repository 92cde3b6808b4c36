"""The graph of an archive, which is a model of its own: called like a module, or like a session of
ONNX Runtime."""

import numpy as np
import triton_python_backend_utils as pb_utils


class _Named:
    def __init__(self, name, shape, kind):
        self.name, self.shape, self.type = name, shape, kind


class Graph:
    """Calls the model beside this one.

    ``settings`` has its ``name``, and of its ``inputs`` and ``outputs`` each name, dims and type.
    """

    current = None
    """The graph of this process; None if the handler loads its own model."""

    def __init__(self, settings):
        self._settings = settings

    def __call__(self, *arguments, **named):
        """Return the outputs for inputs in order or by name: one alone, several as a list."""
        names = [one["name"] for one in self._settings["inputs"]]
        torch = next(
            (_torch_of(one) for one in (*arguments, *named.values()) if _torch_of(one)), None
        )
        found = self.run(None, {**dict(zip(names, arguments)), **named})  # noqa: B905
        if torch is not None:
            found = [torch.from_numpy(np.array(one)) for one in found]
        return found[0] if len(found) == 1 else found

    def run(self, names, feeds):
        """Return outputs by name, all without names, as a session does."""
        kinds = {one["name"]: one["numpy"] for one in self._settings["inputs"]}
        wanted = names or [one["name"] for one in self._settings["outputs"]]
        request = pb_utils.InferenceRequest(
            model_name=self._settings["name"],
            requested_output_names=list(wanted),
            inputs=[
                pb_utils.Tensor(name, _array(value, kinds.get(name)))
                for name, value in feeds.items()
            ],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise RuntimeError(f"{self._settings['name']}: {response.error().message()}")
        return [pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in wanted]

    def get_inputs(self):
        """Return name, shape and type of the inputs, as a session does."""
        return [_Named(one["name"], one["dims"], one["numpy"]) for one in self._settings["inputs"]]

    def get_outputs(self):
        """Return the same of the outputs."""
        return [_Named(one["name"], one["dims"], one["numpy"]) for one in self._settings["outputs"]]

    def to(self, *_args, **_named):
        """Do nothing: Triton has placed the graph."""
        return self

    def eval(self):
        """Do nothing: a graph does not train."""
        return self


def _torch_of(value):
    """Return the module torch if ``value`` is a tensor of it; None otherwise."""
    import sys

    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(value, torch.Tensor) else None


def _array(value, kind):
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.ascontiguousarray(value, dtype=kind)
