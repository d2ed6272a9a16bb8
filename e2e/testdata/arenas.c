/* Eight threads, each with an arena of its own: 25 MiB in blocks of 1000 bytes,
   of which the first three quarters are freed again. Prints what its malloc says,
   then gives it back when it is told to. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#define THREADS 8
#define BLOCK 1000
#define BLOCKS 26214

static pthread_barrier_t done, never;

static void *work(void *x) {
  char **p = malloc(BLOCKS * sizeof *p);
  for (int i = 0; i < BLOCKS; i++) memset(p[i] = malloc(BLOCK), 1, BLOCK);
  for (int i = 0; i < BLOCKS * 3 / 4; i++) free(p[i]);
  pthread_barrier_wait(&done);
  pthread_barrier_wait(&never);
  return x;
}

int main(void) {
  pthread_t t[THREADS];
  struct mallinfo2 m;
  pthread_barrier_init(&done, 0, THREADS + 1);
  pthread_barrier_init(&never, 0, THREADS + 1);
  for (int i = 0; i < THREADS; i++) pthread_create(&t[i], 0, work, 0);
  pthread_barrier_wait(&done);
  m = mallinfo2();
  printf("ready %zu %zu\n", m.arena, m.fordblks);
  fflush(stdout);
  while (getchar() == 't') {
    malloc_trim(0);
    puts("ready");
    fflush(stdout);
  }
}
