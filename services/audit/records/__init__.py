"""What audit keeps about a request: the rules that turn append items into journal entries."""
