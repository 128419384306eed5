/* A slow file system: what changes files below $SLOW_FILES takes some 50 ms longer each time.
 *
 * Preloaded. Files that C's own streams write are slow to open and to close.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES 65536
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char slow[FILES]; /* by file descriptor */

static void delay(void) {
  struct timespec pause = {0, 50000000};
  nanosleep(&pause, NULL);
}

static int below(const char *path) {
  const char *directory = getenv("SLOW_FILES");
  return directory && path && !strncmp(path, directory, strlen(directory));
}

static int opened(int file, const char *path) {
  if (file >= 0 && file < FILES) slow[file] = below(path);
  return file;
}

static void delay_for(int file) {
  if (file >= 0 && file < FILES && slow[file]) delay();
}

#define MODE(flags)                                  \
  mode_t mode = 0;                                   \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {           \
    va_list rest;                                    \
    va_start(rest, flags);                           \
    mode = va_arg(rest, mode_t);                     \
    va_end(rest);                                    \
  }

#define OPEN(name)                                   \
  int name(const char *path, int flags, ...) {       \
    MODE(flags)                                      \
    if (below(path)) delay();                        \
    return opened(REAL(name)(path, flags, mode), path); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                 \
  int name(int folder, const char *path, int flags, ...) { \
    MODE(flags)                                      \
    if (below(path)) delay();                        \
    return opened(REAL(name)(folder, path, flags, mode), path); \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                  \
  FILE *name(const char *path, const char *mode) {   \
    if (below(path)) delay();                        \
    FILE *stream = REAL(name)(path, mode);           \
    if (stream) opened(fileno(stream), path);        \
    return stream;                                   \
  }
FOPEN(fopen)
FOPEN(fopen64)

int fclose(FILE *stream) {
  int file = fileno(stream);
  delay_for(file);
  opened(file, NULL);
  return REAL(fclose)(stream);
}

int close(int file) {
  opened(file, NULL);
  return REAL(close)(file);
}

ssize_t write(int file, const void *bytes, size_t count) {
  delay_for(file);
  return REAL(write)(file, bytes, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t place) {
  delay_for(file);
  return REAL(pwrite64)(file, bytes, count, place);
}

int fsync(int file) {
  delay_for(file);
  return REAL(fsync)(file);
}

int fdatasync(int file) {
  delay_for(file);
  return REAL(fdatasync)(file);
}

int rename(const char *from, const char *to) {
  if (below(to)) delay();
  return REAL(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) {
  if (below(path)) delay();
  return REAL(mkdir)(path, mode);
}

int unlink(const char *path) {
  if (below(path)) delay();
  return REAL(unlink)(path);
}
