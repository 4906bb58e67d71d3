# Compiled code for compiled code only; see balancers.pxd.
