/* What the benchmarks of riscv-tests use of that project's encoding.h. */
#define read_csr(reg) ({ unsigned long value_; asm volatile("csrr %0, " #reg : "=r"(value_)); value_; })
