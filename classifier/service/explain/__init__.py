"""What a policy, or the running service, decides about one flow, with the way to it."""
