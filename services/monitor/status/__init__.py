"""What the monitor knows at one moment, as plain data: what the page and GetStatus show."""
