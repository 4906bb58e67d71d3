# Compiled code for compiled code only; see interfaces.pxd.
