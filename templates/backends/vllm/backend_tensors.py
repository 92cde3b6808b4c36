"""The tensors of the vLLM backend, as Triton's own vLLM backend names and types them."""

# Written by scripts/write_vllm_tensors.py from templates/vllm/tensors.toml; do not edit the tables.
# name, data type, dims, optional
INPUTS = (
    ("text_input", "TYPE_STRING", [1], False),
    ("image", "TYPE_STRING", [-1], True),
    ("stream", "TYPE_BOOL", [1], True),
    ("sampling_parameters", "TYPE_STRING", [1], True),
    ("exclude_input_in_output", "TYPE_BOOL", [1], True),
    ("return_finish_reason", "TYPE_BOOL", [1], True),
    ("return_cumulative_logprob", "TYPE_BOOL", [1], True),
    ("return_logprobs", "TYPE_BOOL", [1], True),
    ("return_num_input_tokens", "TYPE_BOOL", [1], True),
    ("return_num_output_tokens", "TYPE_BOOL", [1], True),
    ("embedding_request", "TYPE_STRING", [1], True),
)

OUTPUTS = (
    ("text_output", "TYPE_STRING", [-1]),
    ("finish_reason", "TYPE_STRING", [-1]),
    ("cumulative_logprob", "TYPE_FP32", [-1]),
    ("logprobs", "TYPE_STRING", [-1]),
    ("num_input_tokens", "TYPE_UINT32", [1]),
    ("num_output_tokens", "TYPE_UINT32", [-1]),
)


def complete(config):
    """Add what a short config.pbtxt leaves out; vLLM is not imported for that."""
    present = config.as_dict()
    named = {tensor["name"] for key in ("input", "output") for tensor in present[key]}
    for name, data_type, dims, optional in INPUTS:
        if name not in named:
            tensor = {"name": name, "data_type": data_type, "dims": dims}
            config.add_input({**tensor, "optional": True} if optional else tensor)
    for name, data_type, dims in OUTPUTS:
        if name not in named:
            config.add_output({"name": name, "data_type": data_type, "dims": dims})
    config.set_model_transaction_policy({"decoupled": True})
    config.set_max_batch_size(0)
    return config
