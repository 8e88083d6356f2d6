"""Personal names and postal addresses, by small linear models over cheap candidates."""
