"""Recognizers of Presidio's in a policy: masked as ours are where it is installed, refused by name where it is not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.redaction.systems import PEERS
from services.guard.policy.loading import InvalidPolicy, parse_bundle
from services.guard.settings import SHIPPED_POLICY

ROOT = Path(__file__).parents[3]
OWN = """
recognizers:
  - name: UK_NHS
    presidio: NhsRecognizer
    score: 0.5
    mode: label
    level: C2
    label: "[NHS]"
    finds: ["NHS号码943 476 5919有误"]
    passes: ["NHS号码943 476 5918有误"]
"""
TEXT = "患者NHS号码943 476 5919已登记，电话13912345678，编号9434765918。"
WRONG = {
    ("NhsRecognizer", "NoSuchRecognizer"): "recognizers[0].presidio: is 'NoSuchRecognizer'; name one of",
    ("NhsRecognizer", "SpacyRecognizer"): "works by patterns alone",
    ("NhsRecognizer", "EmailRecognizer"): "downloads a list while it runs; leave it to EMAIL_ADDRESS",
    ("score: 0.5", "score: 5"): "recognizers[0].score: is 5",
    ("943 476 5918有误", "943 476 5919有误"): "recognizers[0].passes[0]: is found",
}
# In a process of its own: Presidio brings spaCy, which no other test is to meet.
PROGRAM = """
import json, sys
from services.guard.policy.loading import InvalidPolicy, parse_bundle
from services.guard.policy.output_filter import OutputFilter
from services.guard.redaction.redactor import redact

policy, text, wrong = json.load(sys.stdin)
bundle = parse_bundle(policy.encode(), "own.yaml")
released = [redact(bundle.maskings, text, bundle.table).text]
for cut in range(len(text) + 1):
    output_filter = OutputFilter(bundle)
    out = output_filter.feed(text[:cut]).released + output_filter.feed(text[cut:]).released
    released.append(out + output_filter.finish().released)
said = []
for other in wrong:
    try:
        parse_bundle(other.encode(), "own.yaml")
    except InvalidPolicy as refused:
        said.append(str(refused))
json.dump([released, said], sys.stdout)
"""


def with_own(own: str) -> str:
    return SHIPPED_POLICY.read_text() + own


def test_a_policy_that_needs_it_is_refused_with_the_remedy_where_it_is_missing() -> None:
    """Fails if a recognizer that cannot be had is left out in silence."""
    if importlib.util.find_spec("presidio_analyzer"):
        pytest.skip("Presidio is installed here")
    with pytest.raises(InvalidPolicy) as refused:
        parse_bundle(with_own(OWN).encode(), "own.yaml")
    assert "recognizers[0].presidio: names NhsRecognizer, and Presidio is not installed here" in str(refused.value)
    assert "pip install 'strongroom-suite[presidio]'" in str(refused.value)


def test_its_recognizers_mask_in_chinese_text_at_every_cut_and_what_is_wrong_is_named() -> None:
    elsewhere = PEERS.parents[1] / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    if not (importlib.util.find_spec("presidio_analyzer") or elsewhere.exists()):
        pytest.skip("make redaction-peers installs it")
    asked = json.dumps([with_own(OWN), TEXT, [with_own(OWN.replace(*edit)) for edit in WRONG]])
    # Behind what is installed here, so that only what is missing comes from there.
    program = f"import sys; sys.path += [{str(ROOT)!r}, {str(elsewhere)!r}]\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program], input=asked, capture_output=True, encoding="utf-8", timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    released, said = json.loads(done.stdout)
    assert set(released) == {"患者NHS号码[NHS]已登记，电话[REDACTED]，编号9434765918。"}
    assert all(told in refusal for told, refusal in zip(WRONG.values(), said, strict=True)), said
