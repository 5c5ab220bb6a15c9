/* Preloaded into a node by tests: a disk that fails as the file $FAULTY_DISK says.

   Its lines: CALL ERRNO PART
     write 5 /journal/w0/     writes to files whose path contains PART fail with that errno (so do fsync,
                              fdatasync, fallocate and truncate, by their own names: sync, reserve, cut)
     look 1234 /registry/     not an error: when process 1234 has asked for the end of such a file, the file
                              is cut to nothing, once (the answer is the size that it had)
   Without the file, or with an empty one, the disk is well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The number beside a call on this descriptor, or 0. */
static int fault(const char *call, int fd, char *path, size_t room) {
    char *plan = getenv("FAULTY_DISK"), link[64], word[16], part[256];
    int number, found = 0;
    FILE *file = plan ? fopen(plan, "re") : NULL;
    if (!file) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, room - 1);
    path[length > 0 ? length : 0] = 0;
    while (!found && fscanf(file, "%15s %d %255s", word, &number, part) == 3)
        if (!strcmp(word, call) && strstr(path, part)) found = number;
    fclose(file);
    return found;
}

#define FAIL_IF(call, fd)                                                                                \
    do {                                                                                                 \
        char path[4096];                                                                                 \
        int saved = errno, number = fault(call, fd, path, sizeof path);                                  \
        errno = saved;                                                                                   \
        if (number) { errno = number; return -1; }                                                       \
    } while (0)

ssize_t pwrite64(int fd, const void *octets, size_t count, off64_t at) {
    FAIL_IF("write", fd);
    return REAL(pwrite64)(fd, octets, count, at);
}
ssize_t pwrite(int fd, const void *octets, size_t count, off_t at) {
    FAIL_IF("write", fd);
    return REAL(pwrite64)(fd, octets, count, at);
}
ssize_t pwritev(int fd, const struct iovec *some, int count, off_t at) {
    FAIL_IF("write", fd);
    return REAL(pwritev)(fd, some, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *some, int count, off64_t at) {
    FAIL_IF("write", fd);
    return REAL(pwritev64)(fd, some, count, at);
}
ssize_t pwritev2(int fd, const struct iovec *some, int count, off_t at, int flags) {
    FAIL_IF("write", fd);
    return REAL(pwritev2)(fd, some, count, at, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec *some, int count, off64_t at, int flags) {
    FAIL_IF("write", fd);
    return REAL(pwritev64v2)(fd, some, count, at, flags);
}
int fsync(int fd) {
    FAIL_IF("sync", fd);
    return REAL(fsync)(fd);
}
int fdatasync(int fd) {
    FAIL_IF("sync", fd);
    return REAL(fdatasync)(fd);
}
int ftruncate64(int fd, off64_t length) {
    FAIL_IF("cut", fd);
    return REAL(ftruncate64)(fd, length);
}
int ftruncate(int fd, off_t length) {
    FAIL_IF("cut", fd);
    return REAL(ftruncate64)(fd, length);
}

static void look(int fd, int whence) {
    char path[4096];
    int saved = errno;
    if (whence == SEEK_END && fault("look", fd, path, sizeof path) == getpid()) {
        unlink(getenv("FAULTY_DISK"));
        if (truncate(path, 0)) perror(path);
    }
    errno = saved;
}
off64_t lseek64(int fd, off64_t offset, int whence) {
    off64_t answer = REAL(lseek64)(fd, offset, whence);
    look(fd, whence);
    return answer;
}
off_t lseek(int fd, off_t offset, int whence) {
    off_t answer = REAL(lseek64)(fd, offset, whence);
    look(fd, whence);
    return answer;
}
