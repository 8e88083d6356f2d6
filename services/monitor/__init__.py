"""What the suite does: recent traces, received over OTLP, shown to people and to the command line."""
