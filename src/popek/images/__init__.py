"""Where guests come from: Debian's packages, verified, made into kernels, initramfs archives and disks.

What runs a guest is passed in: this room knows no machine. Begin with `catalog`.
"""
