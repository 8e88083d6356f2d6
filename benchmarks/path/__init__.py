"""The straight path with an engine that answers at once: what gateway, guard, audit and queue add to a request."""
