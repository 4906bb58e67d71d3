# Compiled code for compiled code only; see loads.pxd.
