"""Witness policies, read by audit and by the verifier: two implementations that have to agree."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strongroom import verify

from services.audit.witnesses.policy import PolicyInvalid, parse_policy, unreachable
from services.witness.key import CosigningKey


def key(number: int) -> str:
    return CosigningKey(f"witness.example/{number}", bytes([number]) * 32).vkey


NAMES = ("X1", "X2", "X3", "Y1", "Y2", "Y3")
WITNESSES = "".join(f"witness {name} {key(number)} https://{name}.example/\n" for number, name in enumerate(NAMES, 1))
# The example of c2sp.org/tlog-policy: two of the X, and any of the Y.
EXAMPLE = f"""# by two organisations
{WITNESSES}
group X-witnesses 2 X1 X2 X3
\tgroup  Y-witnesses any Y1\tY2 Y3
group X-and-Y all X-witnesses Y-witnesses
  quorum X-and-Y
"""
LOG = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


@pytest.mark.parametrize("cosigned", [set(each) for n in range(7) for each in combinations(NAMES, n)])
def test_the_quorum_of_the_specification(cosigned) -> None:
    wanted = len(cosigned & {"X1", "X2", "X3"}) >= 2 and len(cosigned & {"Y1", "Y2", "Y3"}) >= 1
    assert parse_policy(EXAMPLE).met_by(cosigned) is wanted
    assert verify.parse_policy(EXAMPLE).met_by(cosigned) is wanted


def test_logs_and_addresses_are_read() -> None:
    policy = parse_policy(f"log {LOG} https://log.example\n{EXAMPLE}")
    assert [log.vkey for log in policy.logs] == [LOG]
    assert policy.witnesses["X1"].url == "https://X1.example"
    assert [log.name for log in verify.parse_policy(f"log {LOG}\nquorum none\n").logs] == ["PeterNeumann"]
    assert parse_policy("quorum none").met_by([])


BAD = [
    "", "# nothing\n", WITNESSES, "quorum nobody\n", "quorum none\nquorum none\n", "qourum none\n",
    f"{WITNESSES}{WITNESSES}quorum X1\n", f"witness none {key(1)}\nquorum none\n",
    f"witness A {key(1)}\nwitness B {key(1)}\nquorum A\n", f"log {LOG}\nlog {LOG}\nquorum none\n",
    f"log {key(1)}\nquorum none\n", f"witness A {LOG}\nquorum A\n", f"witness A {key(1)} u v\nquorum A\n",
    f"witness A {key(1)[:-4]}AAA=\nquorum A\n",
    *(f"{WITNESSES}group g {line}\nquorum g\n" for line in ("0 X1", "2 X1", "-1 X1", "1.0 X1", "some X1", "any",
      "any X1 X1", "any none", "any g", "any Z", "01 X1")),
    f"{WITNESSES}group g any X1\ngroup h any X1\nquorum g\n", f"{WITNESSES}group X1 any X2\nquorum X1\n",
    f"group g any X1\n{WITNESSES}quorum g\n", f"quorum X1\n{WITNESSES}", f"{WITNESSES}quorum X1\r\n",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_policy_is_no_policy_to_either(text) -> None:
    with pytest.raises(PolicyInvalid):
        parse_policy(text)
    with pytest.raises(verify.Malformed):
        verify.parse_policy(text)


@settings(deadline=None)
@given(st.data())
def test_both_judge_a_damaged_policy_alike(data) -> None:
    at = data.draw(st.integers(0, len(EXAMPLE) - 1))
    text = EXAMPLE[:at] + data.draw(st.sampled_from(["", "\n", " ", "X", "#", "1", "+", "\x00"])) + EXAMPLE[at + 1 :]
    cosigned = data.draw(st.sets(st.sampled_from(NAMES)))
    try:
        met = parse_policy(text).met_by(cosigned)
    except PolicyInvalid:
        with pytest.raises(verify.Malformed):
            verify.parse_policy(text)
    else:
        assert verify.parse_policy(text).met_by(cosigned) is met


def test_who_cannot_be_asked_is_named() -> None:
    lines = [
        f"witness A {key(1)}",
        f"witness B {key(2)} http://10.0.0.1/w",
        f"witness C {key(3)} http://127.0.0.1:7450",
    ]
    policy = parse_policy("\n".join([*lines, f"witness D {key(4)} https://d.example", "quorum none"]))
    said = unreachable(policy, in_plaintext=False)
    assert len(said) == 2 and "witness A" in said[0] and "witness B is asked in plaintext" in said[1]
    assert len(unreachable(policy, in_plaintext=True)) == 1
