/* What RISC-V programs need to be compiled for the host: there are no such counters, and a fence has another name. */
#define read_csr(reg) ({ static volatile unsigned long count_; count_ += 1000; count_; })
__asm__(".macro fence\n\tmfence\n.endm");
