# Compiled code for compiled code only; see methods.pxd.
