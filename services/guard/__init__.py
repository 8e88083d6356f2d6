"""Policy, redaction, verdicts and the output filter."""
