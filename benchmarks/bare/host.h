/* What RISC-V programs need to be compiled for the host: there are no such counters, and a fence has another name. */
static volatile unsigned long host_count;
#define read_csr(reg) (host_count += 1000)
__asm__(".macro fence\n\tmfence\n.endm");
