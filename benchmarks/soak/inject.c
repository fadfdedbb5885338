/* Faults of the machine under a process, injected at its calls of libc; loaded by LD_PRELOAD, switched by files.

   SOAK_FAULTS/eio      opening and flushing files whose path contains "/spool/" fails with EIO, as on a dying card
   SOAK_FAULTS/threads  no thread starts: EAGAIN, as at the system's limit */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int on(const char *fault) {
    char path[4096];
    const char *folder = getenv("SOAK_FAULTS");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "", fault);
    return folder && access(path, F_OK) == 0;
}

static int breaks(const char *path) {
    if (!strstr(path, "/spool/") || !on("eio")) return 0;
    errno = EIO;
    return 1;
}

#define OPEN(name)                                                                                                    \
    int name(const char *path, int flags, ...) {                                                                      \
        static int (*real)(const char *, int, ...);                                                                   \
        va_list rest;                                                                                                 \
        va_start(rest, flags);                                                                                        \
        mode_t mode = va_arg(rest, mode_t);                                                                           \
        va_end(rest);                                                                                                 \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);                                                         \
        return breaks(path) ? -1 : real(path, flags, mode);                                                           \
    }
OPEN(open)
OPEN(open64)

int fsync(int file) {
    static int (*real)(int);
    char link[64], path[4096] = "";
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, path, sizeof path - 1) < 0) path[0] = 0;
    return breaks(path) ? -1 : real(file);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return on("threads") ? EAGAIN : real(thread, attributes, start, argument);
}
