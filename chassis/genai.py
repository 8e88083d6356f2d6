"""Names of OpenTelemetry's GenAI conventions v1.41.1, and our own of spans. The only place that spells them."""

from __future__ import annotations

from dataclasses import dataclass

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_TOP_K = "gen_ai.request.top_k"
REQUEST_SEED = "gen_ai.request.seed"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
ERROR_TYPE = "error.type"
TOKEN_TYPE = "gen_ai.token.type"  # input or output

CHAT = "chat"  # our one operation
OURS = "strongroom"  # provider: the conventions allow a name of one's own for self-hosted models

# Not in the conventions.
REQUEST_ID = "strongroom.request_id"
END = "strongroom.end"
VERDICT = "strongroom.guard.verdict"
RULE = "strongroom.guard.rule"
POLICY = "strongroom.guard.policy_digest"
FINDINGS = "strongroom.guard.findings"  # how many
RELEASE_N = "strongroom.release.n"
ENGINE = "strongroom.engine"  # name, and version where it is not ours
EPOCH = "strongroom.claim.epoch"


@dataclass(frozen=True)
class Measure:
    """A histogram of the conventions, with its buckets. The unit {token} is an annotation and joins no name."""

    name: str
    unit: str
    buckets: tuple[float, ...]

    @property
    def prometheus(self) -> str:
        spelled = label(self.name)
        return f"{spelled}_{self.unit}" if self.unit else spelled


def label(attribute: str) -> str:
    """An attribute's name as Prometheus spells it."""
    return attribute.replace(".", "_")


_OPERATION_SECONDS = tuple(0.01 * 2**n for n in range(14))  # 0.01 to 81.92
_TOKENS = tuple(4.0**n for n in range(14))  # 1 to 67,108,864

CLIENT_DURATION = Measure("gen_ai.client.operation.duration", "seconds", _OPERATION_SECONDS)
CLIENT_FIRST_CHUNK = Measure("gen_ai.client.operation.time_to_first_chunk", "seconds", _OPERATION_SECONDS)
CLIENT_TOKENS = Measure("gen_ai.client.token.usage", "", _TOKENS)
SERVER_DURATION = Measure("gen_ai.server.request.duration", "seconds", _OPERATION_SECONDS)
SERVER_FIRST_TOKEN = Measure(
    "gen_ai.server.time_to_first_token",
    "seconds",
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
SERVER_OUTPUT_TOKEN = Measure(
    "gen_ai.server.time_per_output_token",
    "seconds",
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
