"""What is allowed: the policy bundle, the judgement of prompts, and the filter for answers."""
