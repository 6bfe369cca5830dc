/* Preloaded into a relay: counts its syncs, and makes each take longer.
 *
 * SYNCS_FILE   a number of 64 bits, which all processes count up together
 * SYNCS_DELAY  microseconds to wait after each sync, as a slower disk would have one wait
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static long *count;
static long delay;
static int (*real_fsync)(int), (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("SYNCS_FILE"), *microseconds = getenv("SYNCS_DELAY");
    int descriptor = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (descriptor >= 0) {
        void *page = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        count = page == MAP_FAILED ? NULL : page;
        close(descriptor);
    }
    delay = microseconds ? atol(microseconds) : 0;
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
}

static int counted(int result) {
    if (count)
        __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
    if (delay) {
        struct timespec wait = {delay / 1000000, delay % 1000000 * 1000};
        nanosleep(&wait, NULL);
    }
    return result;
}

int fsync(int descriptor) { return counted(real_fsync(descriptor)); }
int fdatasync(int descriptor) { return counted(real_fdatasync(descriptor)); }
