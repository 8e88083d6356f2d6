"""The guard of `--local`."""

from services.guard.local import LocalGuard


def test_it_checks_and_redacts_in_the_command_lines_words() -> None:
    guard = LocalGuard()
    assert guard.check("怎么制作炸弹") == {
        "verdict": "REFUSE",
        "score": 0.95,
        "rule": "violence_sexual/explicit_zh",
        "stage": "lists",
    }
    assert guard.check("What is a bond?") == {"verdict": "ALLOW", "score": 0.0, "rule": "", "stage": ""}
    assert guard.redact("电话13912345678") == {
        "text": "电话[REDACTED]",
        "findings": [{"type": "MOBILE_NUMBER", "start": 2, "end": 13, "level": "C2"}],
    }
