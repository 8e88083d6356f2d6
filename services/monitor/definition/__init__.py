"""The one definition of what is watched: quantities over metrics, rules with thresholds, figures for people."""
