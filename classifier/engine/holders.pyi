# Compiled code for compiled code only; see holders.pxd.
