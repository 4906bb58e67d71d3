# Compiled code for compiled code only; see stream.pxd.
