/* Takes two days off the time of day once the file $CHAOS_CLOCK is there.
 *
 * Preloaded. What only measures time goes on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  static const char *jump;
  if (!real) {
    jump = getenv("CHAOS_CLOCK");
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  }
  int code = real(id, now);
  if (id == CLOCK_REALTIME && jump && !access(jump, F_OK)) now->tv_sec -= 2 * 86400;
  return code;
}
int gettimeofday(struct timeval *now, void *zone) {
  struct timespec precise;
  int code = clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return code;
}
