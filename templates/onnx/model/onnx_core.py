"""A call of the graph, which is the model beside this one."""

import triton_python_backend_utils as pb_utils


def ask(settings, inputs):
    """The graph's output for ``inputs``, which are arrays by name."""
    request = pb_utils.InferenceRequest(
        model_name=settings["core"],
        requested_output_names=[settings["output"]],
        inputs=[pb_utils.Tensor(name, array) for name, array in inputs.items()],
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
    )
    response = request.exec()
    if response.has_error():
        raise RuntimeError(f"{settings['core']}: {response.error().message()}")
    return pb_utils.get_output_tensor_by_name(response, settings["output"]).as_numpy()
