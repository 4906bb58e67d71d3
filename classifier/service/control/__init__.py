"""The control socket: how `status` and other commands ask the running service."""
