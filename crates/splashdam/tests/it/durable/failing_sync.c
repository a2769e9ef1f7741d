/* Preloaded into an agent: when the file that FAIL_A_SYNC names appears, it is removed and the next fdatasync of a
 * segment fails with EIO; while a directory has that name, the second fdatasync of each file and all later ones do. As a kernel would, it loses what was written since the last good sync of that file: its
 * bytes are put back to what they were then. Every later sync is told to be good. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 64

static struct {
    ino_t inode;
    char *bytes;
    size_t length;
} kept[FILES];
static unsigned next_one;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int is_segment(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 4) return 0;
    path[length] = 0;
    /* A segment's file has the other name until its length is synced. */
    return strcmp(path + length - 4, ".seg") == 0 || strstr(path, "/splashdam.next") != NULL;
}

static unsigned place_of(ino_t inode) {
    for (unsigned at = 0; at < FILES; at++)
        if (kept[at].bytes && kept[at].inode == inode) return at;
    unsigned at = next_one++ % FILES;
    free(kept[at].bytes);
    kept[at].bytes = NULL;
    kept[at].length = 0;
    kept[at].inode = inode;
    return at;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    struct stat about;
    const char *trigger = getenv("FAIL_A_SYNC");
    if (!trigger || !is_segment(fd) || fstat(fd, &about)) return real(fd);
    pthread_mutex_lock(&lock);
    unsigned at = place_of(about.st_ino);
    int result;
    /* Only a file with a good sync before has something to go back to. */
    if (kept[at].bytes && kept[at].length == (size_t)about.st_size && (unlink(trigger) == 0 || errno == EISDIR)) {
        if (pwrite(fd, kept[at].bytes, kept[at].length, 0) != (ssize_t)kept[at].length) abort();
        real(fd);
        errno = EIO;
        result = -1;
    } else {
        result = real(fd);
        char *bytes = realloc(kept[at].bytes, about.st_size);
        if (!bytes) abort();
        kept[at].bytes = bytes;
        kept[at].length = about.st_size;
        if (pread(fd, bytes, about.st_size, 0) != about.st_size) abort();
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
