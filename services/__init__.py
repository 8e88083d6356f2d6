"""The services of Strongroom. Each is a package you can run; none imports another."""
