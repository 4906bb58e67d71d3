# Compiled code for compiled code only; see nfnetlink.pxd.
