/* Holds 48 MiB in blocks of 1000 bytes, and frees three quarters of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 1000
#define BLOCKS 50331

static char *all[BLOCKS];

int main(void) {
  for (int i = 0; i < BLOCKS; i++) memset(all[i] = malloc(BLOCK), 1, BLOCK);
  for (int i = 0; i < BLOCKS * 3 / 4; i++) free(all[i]);
  puts("ready");
  fflush(stdout);
  getchar();
}
