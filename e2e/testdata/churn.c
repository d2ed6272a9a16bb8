/* Two threads that free and allocate blocks of all sizes up to 60000 bytes for
   ever: hardly a bin of their arenas is ever empty. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 4096

static void *work(void *seed) {
  unsigned s = (unsigned)(size_t)seed;
  char **p = calloc(BLOCKS, sizeof *p);
  for (long n = 0;; n++) {
    s = s * 1103515245 + 12345;
    size_t bytes = 16 + (s >> 4) % 60000;
    unsigned i = s >> 8 & (BLOCKS - 1);
    free(p[i]);
    memset(p[i] = malloc(bytes), 1, bytes);
    if (seed == 0 && n == 4 * BLOCKS) {
      puts("ready");
      fflush(stdout);
    }
  }
}

int main(void) {
  pthread_t t;
  pthread_create(&t, 0, work, (void *)1);
  work(0);
}
