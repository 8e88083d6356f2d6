"""What this worker makes answers by, told with each of them: where it is the same, so are the tokens."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.protocol import ModelInfo

SUITE = "strongroom-suite"


def provenance_of(engine: str, model: ModelInfo) -> pb.Provenance:
    return pb.Provenance(
        model=model.name,
        revision=model.revision,
        weights_digest=bytes.fromhex(model.digest),
        template_digest=bytes.fromhex(model.template_digest),
        engine=engine,
        engine_version=model.version or _suite_version(),
        platform=model.platform or model.device,
        dtype=model.dtype,
        quantization=model.quantization,
        attention=model.attention,
        batch_invariant=model.batch_invariant,
    )


def _suite_version() -> str:
    """Of an engine of our own. Empty where the suite runs from a folder that nobody installed."""
    try:
        return version(SUITE)
    except PackageNotFoundError:
        return ""
