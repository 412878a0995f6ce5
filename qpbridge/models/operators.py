"""The operators that a TorchScript network may consist of: they read tensors and make tensors."""

from __future__ import annotations


def _named(kind: str, names: str) -> frozenset[str]:
    return frozenset(f"{kind}::{name}" for name in names.split())


CONTROL = _named(
    "prim",
    "CallFunction CallMethod Constant CreateObject DictConstruct GetAttr If ListConstruct "
    "ListUnpack Loop NumToTensor RaiseException Return SetAttr TupleConstruct TupleIndex "
    "TupleSlice TupleUnpack Uninitialized data device dtype grad is_cuda is_sparse isinstance "
    "itemsize layout max min requires_grad shape type unchecked_cast "
    "unchecked_unwrap_optional",
)
"""What a program is made of; what it calls is looked at in turn."""

_NUMBERS = _named(
    "aten",
    "Bool Complex Float FloatImplicit Int IntImplicit ScalarImplicit __and__ __contains__ "
    "__derive_index __getitem__ __is__ __isnot__ __not__ __or__ __range_length __round_to_zero_"
    "floordiv __xor__ _set_item append ceil clear copy count dict extend floordiv format get index "
    "insert is_floating_point items keys len list numel ord pop remainder reverse round "
    "setdefault sort update values warn",
)
"""Of numbers, lists, dictionaries and texts; what is warned of is left out when it is run."""

_ARITHMETIC = _named(
    "aten",
    "abs abs_ acos add add_ addcdiv addcmul addmm all allclose amax amin any argmax argmin argsort "
    "asin atan atan2 baddbmm bmm ceil_ clamp clamp_ clamp_max clamp_min clip clip_ cos cosh "
    "cross cumprod cumsum div div_ dot einsum eq eq_ erf exp exp_ expm1 fill_ floor floor_ "
    "floor_divide fmod frac ge gt hypot isfinite isinf isnan le lerp linalg_norm log log10 log1p "
    "log2 logical_and logical_not logical_or logical_xor logit logsumexp lt masked_fill "
    "masked_fill_ masked_select matmul max maximum mean median min minimum mm mul mul_ mv ne neg "
    "neg_ norm pow pow_ prod reciprocal relu_ rsqrt rsub sign sin sinh sqrt sqrt_ square std sub "
    "sub_ sum tan tanh tanh_ topk tril triu true_divide trunc var var_mean where zero_",
)

_SHAPES = _named(
    "aten",
    "alias as_tensor arange broadcast_tensors broadcast_to cat chunk clone contiguous copy_ detach "
    "detach_ diagonal dim empty empty_like expand expand_as eye flatten flip full full_like gather "
    "im2col col2im index_put index_put_ index_select is_contiguous linspace meshgrid movedim "
    "narrow new_empty new_full new_ones new_zeros nonzero ones ones_like pad permute pixel_shuffle "
    "pixel_unshuffle repeat repeat_interleave reshape reshape_as roll rot90 scalar_tensor scatter "
    "scatter_ scatter_add select size slice split split_with_sizes squeeze squeeze_ stack "
    "stride swapaxes t take tensor tensor_split tile to to_dense transpose transpose_ type_as "
    "unbind unflatten unfold unsqueeze unsqueeze_ view view_as zeros zeros_like",
)

_LAYERS = _named(
    "aten",
    "_convolution _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_lanczos2d_aa "
    "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d affine_grid_"
    "generator avg_pool1d avg_pool2d avg_pool3d batch_norm bilinear celu constant_pad_nd conv1d "
    "conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution dropout dropout_ "
    "elu elu_ embedding feature_dropout gelu glu grid_sampler grid_sampler_2d group_norm "
    "hardshrink hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ instance_norm "
    "layer_norm leaky_relu leaky_relu_ linear log_sigmoid log_softmax max_pool1d max_pool2d "
    "max_pool2d_with_indices max_pool3d max_unpool2d mish mish_ native_batch_norm native_group_"
    "norm native_layer_norm normal_ prelu rand rand_like randn reflection_pad2d relu relu6 relu6_ "
    "replication_pad2d rms_norm scaled_dot_product_attention selu selu_ sigmoid sigmoid_ silu "
    "silu_ softmax softplus softshrink threshold threshold_ uniform_ upsample_bicubic2d "
    "upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d "
    "upsample_nearest3d upsample_trilinear3d",
)

TENSOR = _NUMBERS | _ARITHMETIC | _SHAPES | _LAYERS
