/* Preloaded into a program: notes what it makes, writes and syncs below one folder, and fails when
 * it is told to.
 *
 * RECORDER_ROOT   the folder
 * RECORDER_LOG    where the notes go: "made PATH", "wrote PATH", "synced PATH", "removed PATH", and
 *                 "said TEXT" for what is written to the file "said" in the folder
 * RECORDER_DROP   syncs of paths that end so, or have it in them if it ends in a slash, are neither
 *                 done nor noted
 * RECORDER_TRACE  where all of it goes that a disk would know: see trace()
 * RECORDER_CLOCK  by how many seconds the clock on the wall is wrong
 * RECORDER_FAIL   "sync PART ERRNO" or "write PART ERRNO": what is done to paths with that in them
 *                 fails while the file "failing" is in the folder
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), less = strlen(end);
    return less && length >= less && strcmp(text + length - less, end) == 0;
}

/* The path of a descriptor below the root; empty for any other. */
static const char *below(int descriptor, char *path) {
    char link[64];
    const char *root = setting("RECORDER_ROOT");
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return *root && strncmp(path, root, strlen(root)) == 0 ? path + strlen(root) : "";
}

static void note(const char *what, const char *text, size_t length) {
    static int log = -1;
    char line[PATH_MAX + 32];
    if (log < 0)
        log = syscall(SYS_openat, AT_FDCWD, setting("RECORDER_LOG"),
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int size = snprintf(line, sizeof line, "%s %.*s\n", what, (int)length, text);
    syscall(SYS_write, log, line, size);
}

/* For whoever makes out of it what a disk has after a power cut (tests/crash/disk.py). A record is
 * what was done (1 octet), by which thread (4), the length of the path (4), where in the file (8),
 * how many octets (8), little-endian, then the path and the octets:
 *
 * m, d  a file, a folder was made       u  a file was removed
 * w     octets are about to be written  t  the file is about to be so long, which stands at "where"
 * b     a sync begins                   s  it has succeeded       x  it has failed
 */
static void trace(char what, const char *path, off_t at, const void *octets, size_t size) {
    static int file = -2;
    if (file == -2)
        file = *setting("RECORDER_TRACE")
                   ? syscall(SYS_openat, AT_FDCWD, setting("RECORDER_TRACE"),
                             O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)
                   : -1;
    if (file < 0 || !*path)
        return;
    char head[25] = {what};
    uint32_t thread = syscall(SYS_gettid), length = strlen(path);
    uint64_t where = at, octets_size = size;
    memcpy(head + 1, &thread, 4);
    memcpy(head + 5, &length, 4);
    memcpy(head + 9, &where, 8);
    memcpy(head + 17, &octets_size, 8);
    struct iovec parts[] = {
        {head, sizeof head}, {(void *)path, length}, {(void *)octets, size}};
    /* At once, so that threads do not write into each other's records. */
    syscall(SYS_writev, file, parts, 3);
}

/* Whether to fail: 0, or the error. */
static int failure(const char *what, const char *path) {
    char wanted[32], part[PATH_MAX], flag[PATH_MAX];
    int number;
    if (sscanf(setting("RECORDER_FAIL"), "%31s %4095s %d", wanted, part, &number) != 3)
        return 0;
    snprintf(flag, sizeof flag, "%s/failing", setting("RECORDER_ROOT"));
    return strcmp(wanted, what) == 0 && strstr(path, part) && access(flag, F_OK) == 0 ? number : 0;
}

static int synced(int descriptor, const char *name) {
    char path[PATH_MAX];
    const char *found = below(descriptor, path);
    int error = failure("sync", path);
    if (error) {
        trace('b', found, 0, "", 0);
        trace('x', found, 0, "", 0);
        return errno = error, -1;
    }
    const char *dropped = setting("RECORDER_DROP");
    if (ends_with(path, dropped) || (ends_with(dropped, "/") && strstr(path, dropped)))
        return 0;
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    trace('b', found, 0, "", 0);
    int done = real(descriptor);
    trace(done == 0 ? 's' : 'x', found, 0, "", 0);
    if (done == 0 && *found)
        note("synced", found, strlen(found));
    return done;
}

int fsync(int descriptor) { return synced(descriptor, "fsync"); }

int fdatasync(int descriptor) { return synced(descriptor, "fdatasync"); }

static ssize_t wrote(int descriptor, const void *octets, size_t size, off_t at, const char *name) {
    char path[PATH_MAX];
    const char *found = below(descriptor, path);
    int error = failure("write", path);
    if (error)
        return errno = error, -1;
    if (strcmp(found, "/said") == 0)
        note("said", octets, size);
    else if (*found)
        note("wrote", found, strlen(found)); /* before it is: a sync in between does not count */
    if (*found)
        trace('w', found, at < 0 ? lseek(descriptor, 0, SEEK_CUR) : at, octets, size);
    if (at < 0) {
        ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, name);
        return real(descriptor, octets, size);
    }
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, name);
    return real(descriptor, octets, size, at);
}

ssize_t write(int descriptor, const void *octets, size_t size) {
    return wrote(descriptor, octets, size, -1, "write");
}

ssize_t pwrite(int descriptor, const void *octets, size_t size, off_t at) {
    return wrote(descriptor, octets, size, at, "pwrite");
}

ssize_t pwrite64(int descriptor, const void *octets, size_t size, off_t at) {
    return wrote(descriptor, octets, size, at, "pwrite64");
}

static int opened(const char *name, const char *path, int flags, mode_t mode) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    int is_new = (flags & O_CREAT) && access(path, F_OK) != 0;
    int descriptor = real(path, flags, mode);
    char buffer[PATH_MAX];
    const char *found = descriptor < 0 ? "" : below(descriptor, buffer);
    if (is_new && *found) {
        note("made", found, strlen(found));
        trace('m', found, 0, "", 0);
    }
    return descriptor;
}

static int cut(int descriptor, off_t size, const char *name) {
    char path[PATH_MAX];
    trace('t', below(descriptor, path), size, "", 0);
    int (*real)(int, off_t) = dlsym(RTLD_NEXT, name);
    return real(descriptor, size);
}

int ftruncate(int descriptor, off_t size) { return cut(descriptor, size, "ftruncate"); }

int ftruncate64(int descriptor, off_t size) { return cut(descriptor, size, "ftruncate64"); }

/* A path below the root, without it; empty for any other. */
static const char *named(const char *path) {
    const char *root = setting("RECORDER_ROOT");
    return *root && strncmp(path, root, strlen(root)) == 0 ? path + strlen(root) : "";
}

int mkdir(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = dlsym(RTLD_NEXT, "mkdir");
    int done = real(path, mode);
    if (done == 0)
        trace('d', named(path), 0, "", 0);
    return done;
}

int unlink(const char *path) {
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    const char *found = named(path);
    int done = real(path);
    if (done == 0 && *found) {
        note("removed", found, strlen(found));
        trace('u', found, 0, "", 0);
    }
    return done;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, time);
    if (clock == CLOCK_REALTIME)
        time->tv_sec += atoi(setting("RECORDER_CLOCK"));
    return done;
}

#define OPEN(name)                                     \
    int name(const char *path, int flags, ...) {       \
        va_list more;                                  \
        va_start(more, flags);                         \
        mode_t mode = va_arg(more, mode_t);            \
        va_end(more);                                  \
        return opened(#name, path, flags, mode);       \
    }

OPEN(open)
OPEN(open64)
