"""What this CPU multiplies: bfloat16 or not, and how large bytes may be so that their products are exact.

Processors without VNNI add two products of bytes in sixteen bits, which hold 255 × 127 once but not twice. Activations
of seven bits fit: 2 × 127 × 127 is below 2^15.
"""

from __future__ import annotations

from functools import cache

import torch

WEIGHT = 127  # a weight's code is at most so much, without sign
EIGHT, SEVEN = 127, 63  # an activation's; with what makes it unsigned, one more, it fills eight bits or seven
NO_OPERATOR = (AttributeError, RuntimeError)  # what an operator raises that this build of torch has not


def has_bfloat16() -> bool:
    """As oneDNN's products have it."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except NO_OPERATOR:
        return False


@cache
def most() -> int:
    """EIGHT or SEVEN; 0 where neither is exact, or torch has no such product."""
    return next((code for code in (EIGHT, SEVEN) if _exact(code)), 0)


def _exact(code: int) -> bool:
    """Tried on the largest and the smallest weights: a processor's kernels differ by the number of rows."""
    zero, inputs = code + 1, 64
    try:
        weight = torch.full((16, inputs), WEIGHT, dtype=torch.int8)
        weight[8:] = -WEIGHT
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        scales, none = torch.ones(16), torch.zeros(16, dtype=torch.int32)
        for rows in (1, 16, 64):
            codes = torch.full((rows, inputs), zero + code, dtype=torch.uint8)
            found = torch.ops.onednn.qlinear_pointwise(
                codes, 1.0, zero, packed, scales, none, None, 1.0, 0, torch.float32, "none", [], ""
            )
            if not torch.equal(found, code * weight.float().sum(1).expand(rows, -1)):
                return False
    except NO_OPERATOR:
        return False
    return True
