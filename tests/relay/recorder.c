/* Preloaded into a program: notes what it makes, writes and syncs below one folder, and fails when
 * it is told to.
 *
 * RECORDER_ROOT   the folder
 * RECORDER_LOG    where the notes go: "made PATH", "wrote PATH", "synced PATH", "removed PATH", and
 *                 "said TEXT" for what is written to the file "said" in the folder
 * RECORDER_DROP   syncs of paths that end so, or have it in them if it ends in a slash, are neither
 *                 done nor noted
 * RECORDER_FAIL   "sync PART ERRNO" or "write PART ERRNO": what is done to paths with that in them
 *                 fails while the file "failing" is in the folder
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
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
    if (error)
        return errno = error, -1;
    const char *dropped = setting("RECORDER_DROP");
    if (ends_with(path, dropped) || (ends_with(dropped, "/") && strstr(path, dropped)))
        return 0;
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    int done = real(descriptor);
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
    if (is_new && *found)
        note("made", found, strlen(found));
    return descriptor;
}

int unlink(const char *path) {
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    const char *root = setting("RECORDER_ROOT");
    int done = real(path);
    if (done == 0 && *root && strncmp(path, root, strlen(root)) == 0)
        note("removed", path + strlen(root), strlen(path + strlen(root)));
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
