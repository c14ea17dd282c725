/* Executes vector instructions on a foreign implementation of RISC-V: cases from standard input to standard output, each a
   `struct machine` before and after. Nothing is checked here; machine.py knows the same layout. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>

struct machine {
    uint64_t word, vtype, vl, vstart, vcsr, fcsr, x10, x11, x12, f10, f12, base, trap, unused[3];
    uint8_t v[1024], memory[2048];
};

static volatile int trapped;

static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)info;
    trapped = number == SIGILL ? 1 : 2;
    ((ucontext_t *)context)->uc_mcontext.__gregs[REG_PC] += 4;
}

void run(struct machine *m, void *code);
asm(".option push\n.option arch, +v\n"
    "run:\n"
    "addi sp, sp, -32\n sd ra, 0(sp)\n sd s0, 8(sp)\n sd s1, 16(sp)\n"
    "mv s0, a0\n mv s1, a1\n"
    "addi t0, s0, 128\n vl8re8.v v0, (t0)\n addi t0, t0, 256\n vl8re8.v v8, (t0)\n"
    "addi t0, t0, 256\n vl8re8.v v16, (t0)\n addi t0, t0, 256\n vl8re8.v v24, (t0)\n"
    "ld t0, 8(s0)\n ld t1, 16(s0)\n vsetvl x0, t1, t0\n"
    "ld t0, 32(s0)\n csrw vcsr, t0\n ld t0, 40(s0)\n fscsr t0\n"
    "ld a0, 48(s0)\n ld a1, 56(s0)\n ld a2, 64(s0)\n fld fa0, 72(s0)\n fld fa2, 80(s0)\n"
    "ld t0, 24(s0)\n csrw vstart, t0\n"
    "jalr s1\n"
    "csrr t0, vstart\n sd t0, 24(s0)\n csrr t0, vl\n sd t0, 16(s0)\n csrr t0, vtype\n sd t0, 8(s0)\n"
    "csrr t0, vcsr\n sd t0, 32(s0)\n frcsr t0\n sd t0, 40(s0)\n sd a2, 64(s0)\n fsd fa2, 80(s0)\n"
    "csrw vstart, x0\n"
    "addi t0, s0, 128\n vs8r.v v0, (t0)\n addi t0, t0, 256\n vs8r.v v8, (t0)\n"
    "addi t0, t0, 256\n vs8r.v v16, (t0)\n addi t0, t0, 256\n vs8r.v v24, (t0)\n"
    "ld ra, 0(sp)\n ld s0, 8(sp)\n ld s1, 16(sp)\n addi sp, sp, 32\n ret\n.option pop\n");

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &action, 0);
    sigaction(SIGSEGV, &action, 0);
    setvbuf(stdout, 0, _IONBF, 0);
    uint32_t *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    /* Nothing is before and behind the page that the memory ends with. */
    char *area = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct machine *one = (struct machine *)(area + 2 * 4096 - sizeof *one);
    mprotect(area, 4096, PROT_NONE);
    mprotect(area + 2 * 4096, 4096, PROT_NONE);
    while (fread(one, sizeof *one, 1, stdin) == 1) {
        if (one->base)
            one->x10 += (uint64_t)one->memory;
        code[0] = one->word;
        code[1] = 0x00008067;
        __builtin___clear_cache((char *)code, (char *)(code + 2));
        trapped = 0;
        run(one, code);
        one->trap = trapped;
        fwrite(one, sizeof *one, 1, stdout);
    }
    return 0;
}
