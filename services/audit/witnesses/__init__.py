"""Those who cosign the log's checkpoints: whom the policy names, what each was asked and said, what is kept of it."""
