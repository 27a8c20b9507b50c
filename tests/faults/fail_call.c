/* Lets one call of a program fail: preloaded, it makes call number FAIL_AT (from 1) of write, fsync, rename or ftruncate
 * fail with FAIL_ERRNO, counted over all of them, when the file lies below FAIL_BELOW (an absolute path). Where FAIL_AT is 0 it only
 * counts. At its end the program appends the count to FAIL_COUNT, a file. Calls of other files go through.
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

static int below(const char *path) {
  const char *root = getenv("FAIL_BELOW");
  return root && strncmp(path, root, strlen(root)) == 0;
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
