"""The life of a request, in plain Python: what is asked, whether it may run, what is released, how it ends."""
