# Compiled code for compiled code only; see pcapng.pxd.
