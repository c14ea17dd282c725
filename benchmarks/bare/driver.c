/* main of every program of benchmarks/programs.py: runs somebody else's `main`, called program_main here, and says one
   line. The same source for the bare machine and for the host; time is measured from outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifndef REPEAT
#define REPEAT 1
#endif

static uint64_t digest = 14695981039346656037u;
#ifdef __riscv /* glibc's would bring half of glibc with it */
typedef long mark[14];
int set_mark(mark) __attribute__((returns_twice));
void go_to_mark(mark) __attribute__((noreturn));
#else
typedef jmp_buf mark;
#define set_mark _setjmp
#define go_to_mark(m) longjmp(m, 1)
#endif
static mark out_of_program;
static int code_of_exit;

#ifdef __riscv
void put_byte(int byte);
#else
#define put_byte putchar
#endif

static void say(const char *text) {
    while (*text) put_byte(*text++);
}

static void digest_byte(int byte) {
    digest = (digest ^ (byte & 255)) * 1099511628211u;
}

static void number(uint64_t value, unsigned base, int width, char pad, void (*put)(int)) {
    char text[24];
    int n = 0;
    do text[n++] = "0123456789abcdef"[value % base], value /= base; while (value);
    while (width-- > n) put(pad);
    while (n) put(text[--n]);
}

/* printf's %d %i %u %x %p %c %s with l, ll, z, a width and a leading 0; all that these programs print. */
static void format(const char *f, va_list list, void (*put)(int)) {
    for (; *f; f++) {
        if (*f != '%') { put(*f); continue; }
        int width = 0, wide = 0;
        char pad = f[1] == '0' ? '0' : ' ';
        for (f++; *f >= '0' && *f <= '9'; f++) width = 10 * width + *f - '0';
        for (; *f == 'l' || *f == 'z'; f++) wide = 1;
        if (*f == 's') {
            for (const char *s = va_arg(list, const char *); *s; s++) put(*s);
        } else if (*f == 'c') {
            put(va_arg(list, int));
        } else if (*f == 'f') {
            va_arg(list, double);
        } else if (*f == 'd' || *f == 'i') {
            long v = wide ? va_arg(list, long) : va_arg(list, int);
            if (v < 0) put('-');
            number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, pad, put);
        } else if (*f == 'u' || *f == 'x' || *f == 'X' || *f == 'p') {
            uint64_t v = wide || *f == 'p' ? va_arg(list, unsigned long) : va_arg(list, unsigned);
            number(v, *f == 'u' ? 10 : 16, width, pad, put);
        } else {
            put(*f);
        }
    }
}

#ifdef __riscv
static void put_out(int byte) { put_byte(byte); }
#else
static void put_out(int byte) { putchar(byte); }
#endif

/* CoreMark says its checksums with this. */
int ee_printf(const char *f, ...) {
    va_list list;
    va_start(list, f);
    format(f, list, put_out);
    va_end(list);
    return 0;
}

/* Dhrystone says the final values of its variables with this (its own one, which is dropped, says nothing). */
void debug_printf(const char *f, ...) {
    va_list list;
    va_start(list, f);
    format(f, list, digest_byte);
    va_end(list);
}

/* The others print their own timings: not wanted. */
int program_printf(const char *f, ...) { return 0; }

/* Dhrystone doubles its work until this says that it took long enough. */
long program_time(void *unused) {
    static long now;
    return now += 1000;
}

void setStats(int enable) {}
void initialise_board(void) {}
void start_trigger(void) {}
void stop_trigger(void) {}

/* In place of exit. */
void program_exit(int code) {
    code_of_exit = code;
    go_to_mark(out_of_program);
}

int program_main(int argc, char **argv);
void thread_entry(int cid, int nc);

#ifdef HAS_THREAD_ENTRY
static __attribute__((noinline)) int one(void) {
    if (set_mark(out_of_program)) return code_of_exit;
    thread_entry(0, 1);
    return 1;
}
#else
static __attribute__((noinline)) int one(void) {
    char *nothing[] = {"program", 0};
    return program_main(1, nothing);
}
#endif

#ifdef RESTORED /* programs that spoil their input: bytes of its sections */
extern char __start_programdata[], __stop_programdata[];
static char kept[1 << 20];
#endif

int main(void) {
    int failed = 0;
#ifdef RESTORED
    unsigned long size = __stop_programdata - __start_programdata;
    if (size > sizeof kept) return 97;
    memcpy(kept, __start_programdata, size);
#endif
    for (int i = 0; i < REPEAT; i++) {
#ifdef RESTORED
        memcpy(__start_programdata, kept, size);
#endif
        failed |= one();
    }
    say(NAME);
    say(failed ? " WRONG " : " right ");
#ifdef __riscv
    number(digest, 16, 16, '0', put_out); /* has addresses in it: the same in every machine that runs this file */
#endif
    say("\n");
    return failed != 0;
}
