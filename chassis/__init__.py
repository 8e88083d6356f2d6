"""What every service stands on: settings, serving, calling, errors, identity, telemetry."""
