# Compiled code for compiled code only; see helpers.pxd.
