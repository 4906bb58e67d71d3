# Compiled code for compiled code only; see pcapng_blocks.pxd.
