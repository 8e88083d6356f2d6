"""The strongroom command."""
