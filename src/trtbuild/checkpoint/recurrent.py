"""The constant state of recurrent layers: a convolution's last inputs and a state matrix.

The shapes are those that vLLM allocates (its ``MambaStateShapeCalculator``) without tensor
parallelism; sources of the layers: Mamba (arXiv 2312.00752), Mamba-2 (2405.21060), Gated DeltaNet
(2412.06464), Kimi Delta Attention (2510.26692).
"""

from __future__ import annotations

from trtbuild.checkpoint import families
from trtbuild.checkpoint.fields import Fields

Parts = tuple[int, int]
"""Elements of a convolution's last inputs, and of the state."""


def state_of(fields: Fields, lightning: int) -> tuple[int, int]:
    """Return the elements of a recurrent layer's state per sequence, and how many are float32.

    ``lightning`` is the state of lightning attention, one matrix per head. It is returned for
    families without the sizes of the other kinds.
    """
    for read in (_gated_delta, _kda, _short_conv, _mamba2, _mamba1):
        convolved, state = read(fields)
        if convolved or state:
            break
    else:
        convolved, state = 0, lightning
    named = fields.text("mamba_ssm_cache_dtype") or fields.text("mamba_ssm_dtype")
    if not named and (read is _kda or fields.family in families.FLOAT32_STATE):
        named = "float32"
    return convolved + state, state if named == "float32" else 0


def _gated_delta(fields: Fields) -> Parts:
    # OLMo Hybrid works out what is not said: as many heads as attention has, 3/4 as wide in all.
    count = fields.number(families.HEADS) if fields.family == "olmo_hybrid" else 0
    value_heads = fields.number("linear_num_value_heads", count)
    key_heads = fields.number("linear_num_key_heads", count)
    if not value_heads:
        return 0, 0
    width = 3 * fields.number(families.HIDDEN) // (4 * key_heads) if count and key_heads else 0
    key = fields.number("linear_key_head_dim", width)
    value = fields.number("linear_value_head_dim", 2 * key)
    convolved = 2 * key_heads * key + value_heads * value
    return convolved * (fields.number("linear_conv_kernel_dim", 4) - 1), value_heads * key * value


def _kda(fields: Fields) -> Parts:
    linear = fields.get("linear_attn_config")
    inner = Fields(linear) if isinstance(linear, dict) else fields
    count = inner.number("num_heads" if inner is not fields else "linear_num_heads")
    size = inner.number("head_dim" if inner is not fields else "linear_head_dim")
    kept = inner.number(("short_conv_kernel_size", "linear_conv_kernel_dim"), 4) - 1
    return 3 * count * size * kept, count * size * size


def _short_conv(fields: Fields) -> Parts:
    length = fields.number("conv_L_cache")
    width = fields.number(("conv_dim", "hidden_size"))
    return (width * (length - 1) if length else 0), 0


def _mamba2(fields: Fields) -> Parts:
    count = fields.number(("mamba_num_heads", "mamba_n_heads", "n_mamba_heads"))
    if not count and fields.family == "mamba2":
        count = fields.number("num_heads")
    if not count:
        return 0, 0
    keys = [
        k for k in ("mamba_head_dim", "mamba_d_head", "mamba_headdim") if fields.get(k) != "auto"
    ]
    size = fields.number(keys)
    if not size and fields.family == "mamba2":
        size = fields.number("head_dim")
    if not size and fields.number("mamba_step"):  # PLaMo 2, whose convolution leaves out the groups
        size = fields.number("hidden_size_per_head")
    size = size or _inner(fields) // count
    state = fields.number(("ssm_state_size", "mamba_d_state", "state_size"))
    groups = fields.number(
        ("n_groups", "mamba_n_groups", "mamba_ngroups"), 0 if fields.number("mamba_step") else 1
    )
    kept = fields.number(("conv_kernel", "mamba_d_conv"), 4) - 1
    return (count * size + 2 * groups * state) * kept, count * size * state


def _inner(fields: Fields) -> int:
    """Return the inner width of a Mamba layer."""
    expanded = fields.number(("mamba_expand", "expand")) * fields.number(families.HIDDEN)
    return fields.number("mamba_d_ssm") or expanded


def _mamba1(fields: Fields) -> Parts:
    state = fields.number(("mamba_d_state", "state_size"))
    if not state:
        return 0, 0
    inner = fields.number("mamba_expand") * fields.number(families.HIDDEN)
    inner = inner or fields.number("intermediate_size")
    return inner * (fields.number(("mamba_d_conv", "conv_kernel"), 4) - 1), inner * state
