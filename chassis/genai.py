"""Attribute names of spans: OpenTelemetry GenAI conventions v1.41.1, and our own. The only place that spells them."""

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
EPOCH = "strongroom.claim.epoch"
