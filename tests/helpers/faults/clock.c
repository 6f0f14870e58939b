/* Lets Python see another time of day than the machine has, by an offset that lies in a file.

   Preloaded into a process. Only what the Python interpreter asks is answered so: C++ libraries
   compute deadlines from the time of day and hand them to the kernel, which knows nothing of the
   offset. Monotonic clocks are left alone, as they are when an administrator sets the clock. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset_s;
static uintptr_t begin, end; /* where the interpreter's own code lies */

static int find_interpreter(struct dl_phdr_info *info, size_t size, void *is_first) {
    int wanted = *(int *)is_first || strstr(info->dlpi_name, "libpython") != NULL;
    *(int *)is_first = 0;
    if (wanted) {
        begin = end = 0;
        for (int i = 0; i < info->dlpi_phnum; i++) {
            const ElfW(Phdr) *part = &info->dlpi_phdr[i];
            if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
                begin = info->dlpi_addr + part->p_vaddr;
                end = begin + part->p_memsz;
            }
        }
    }
    return 0;
}

__attribute__((constructor)) static void prepare(void) {
    char program[4096] = {0};
    const char *path = getenv("MLFD_TESTED_CLOCK");
    if (path == NULL || readlink("/proc/self/exe", program, sizeof program - 1) < 0) return;
    if (strstr(program, "/python") == NULL) return;
    int file = open(path, O_RDONLY);
    if (file < 0) return;
    void *map = mmap(NULL, sizeof *offset_s, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED) return;
    int is_first = 1;
    dl_iterate_phdr(find_interpreter, &is_first);
    offset_s = map;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) real = dlsym(RTLD_NEXT, "clock_gettime");
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME && offset_s != NULL && begin <= caller && caller < end)
        time->tv_sec += *offset_s;
    return result;
}
