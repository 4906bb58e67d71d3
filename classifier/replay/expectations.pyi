# Compiled code for compiled code only; see expectations.pxd.
