"""The guard in one process, without a stack: for the command line's `--local`."""

from __future__ import annotations

from chassis.settings import InvalidSettings, load
from services.guard.policy.loading import InvalidPolicy, load_bundle
from services.guard.policy.screening import judge
from services.guard.redaction.redactor import redact_prompt
from services.guard.redaction.tokens import passing
from services.guard.settings import GuardSettings

UNUSABLE = (InvalidSettings, InvalidPolicy)  # what `LocalGuard()` raises, written for people


class LocalGuard:
    """Judges by the policy that STRONGROOM_GUARD_POLICY_FILE names, else by the shipped one."""

    def __init__(self) -> None:
        self._bundle = load_bundle(load(GuardSettings, "guard").policy_file)

    def check(self, text: str) -> dict[str, object]:
        judgement = judge(self._bundle.prompt_terms, text)
        return {
            "verdict": judgement.verdict.value,
            "score": judgement.score,
            "rule": judgement.rule,
            "stage": judgement.stage,
        }

    def redact(self, text: str) -> dict[str, object]:
        redaction = redact_prompt(self._bundle.maskings_with(passing()), text, self._bundle.table)
        findings = [
            {"type": found.entity, "start": found.start, "end": found.end, "level": found.level}
            for found in redaction.findings
        ]
        return {"text": redaction.text, "findings": findings}
