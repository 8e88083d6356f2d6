"""Short windows of what was scraped, within bounds."""
