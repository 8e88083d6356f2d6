"""The inference worker: claims jobs, runs them in one continuous batch, publishes step frames."""
