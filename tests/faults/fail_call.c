/* Lets one call of a program fail: preloaded, it makes call number FAIL_AT (from 1) of those below fail, counted over all of
 * them. Where FAIL_AT is 0 it only counts. At its end the program appends the count to FAIL_COUNT, a file.
 *
 * FAIL_WHAT is "disk": write, fsync, rename and ftruncate of files below FAIL_BELOW (an absolute path) fail with FAIL_ERRNO.
 * FAIL_WHAT is "memory": allocations of 16 KB and more return nothing.
 *
 *   cc -shared -fPIC -O1 -o fail_call.so fail_call.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int is(const char *what) {
  const char *wanted = getenv("FAIL_WHAT");
  return wanted && strcmp(wanted, what) == 0;
}

static int below(const char *path) {
  const char *root = getenv("FAIL_BELOW");
  return is("disk") && root && strncmp(path, root, strlen(root)) == 0;
}

static int descriptor_below(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return below(path);
}

/* Counts a call; whether it is the one that fails, with errno set. */
static int fails(void) {
  const char *at = getenv("FAIL_AT"), *error = getenv("FAIL_ERRNO");
  if (atomic_fetch_add(&calls, 1) + 1 != (at ? atol(at) : 0)) return 0;
  errno = error ? atoi(error) : EIO;
  return 1;
}

/* glibc's own names: dlsym would allocate. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static int out_of_memory(size_t size) { return size >= 16384 && is("memory") && fails(); }

void *malloc(size_t size) { return out_of_memory(size) ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) {
  return out_of_memory(count * size) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) { return out_of_memory(size) ? NULL : __libc_realloc(old, size); }

int posix_memalign(void **out, size_t alignment, size_t size) {
  if (out_of_memory(size)) return ENOMEM;
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

ssize_t write(int fd, const void *bytes, size_t count) {
  ssize_t (*real)(int, const void *, size_t) = next("write");
  if (descriptor_below(fd) && fails()) return -1;
  return real(fd, bytes, count);
}

int fsync(int fd) {
  int (*real)(int) = next("fsync");
  return descriptor_below(fd) && fails() ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
  int (*real)(const char *, const char *) = next("rename");
  return below(to) && fails() ? -1 : real(from, to);
}

int ftruncate64(int fd, off64_t length) {
  int (*real)(int, off64_t) = next("ftruncate64");
  return descriptor_below(fd) && fails() ? -1 : real(fd, length);
}

__attribute__((destructor)) static void tell(void) {
  const char *path = getenv("FAIL_COUNT");
  FILE *out = path ? fopen(path, "a") : NULL;
  if (!out) return;
  fprintf(out, "%ld\n", atomic_load(&calls));
  fclose(out);
}
