"""How much personal data is masked, and what else is: the guard beside Presidio and three plain patterns."""
