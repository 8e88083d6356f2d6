"""How the guard's models of names and addresses are trained and judged. Nothing here runs while the guard serves."""
