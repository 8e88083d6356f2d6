"""The gateway: identity, admission, the life of each request, the reply relay."""
