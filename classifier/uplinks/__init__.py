"""What is known of each uplink while the service runs: its state, its health, and who takes flows.

`health` and `state` are pure: no clock, no socket. `probes` asks targets through one uplink, and
`prober` runs the rounds that feed `health`. `tiers` says which uplinks of a balancer take flows.
"""
