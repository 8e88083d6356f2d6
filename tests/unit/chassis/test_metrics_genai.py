"""The conventions' metrics as Prometheus spells them, with the buckets that they specify."""

from __future__ import annotations

import pytest

from chassis import genai

SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]


@pytest.mark.parametrize(
    ("measure", "name", "buckets"),
    [
        (genai.CLIENT_DURATION, "gen_ai_client_operation_duration_seconds", SECONDS),
        (genai.CLIENT_FIRST_CHUNK, "gen_ai_client_operation_time_to_first_chunk_seconds", SECONDS),
        (genai.CLIENT_TOKENS, "gen_ai_client_token_usage", TOKENS),
        (genai.SERVER_DURATION, "gen_ai_server_request_duration_seconds", SECONDS),
        (genai.SERVER_FIRST_TOKEN, "gen_ai_server_time_to_first_token_seconds", None),
        (genai.SERVER_OUTPUT_TOKEN, "gen_ai_server_time_per_output_token_seconds", None),
    ],
)
def test_names_and_buckets(measure, name, buckets) -> None:
    assert measure.prometheus == name
    assert list(measure.buckets) == sorted(set(measure.buckets))
    if buckets:
        assert list(measure.buckets) == pytest.approx(buckets)
