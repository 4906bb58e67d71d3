/* What both C readers share: the talk with the bench, and the clocks.
 *
 * The bench waits for "bound", fills the queue, and writes one line; the reader then answers
 * `packets` packets and prints how many nanoseconds that took: CPU (user and system), wall. */
#include <stdio.h>
#include <stdlib.h>
#include <stdint.h>
#include <time.h>

#define MARK 0x100
#define LENGTH 65536
#define COPY_RANGE 128
#define RECEIVE_BUFFER (64 << 20)

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t nanoseconds(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Serve the bench: argument 1 is the queue, each line on stdin a number of packets to answer. */
static void serve(void (*answer)(long packets))
{
	long packets;

	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("bound");
	while (scanf("%ld", &packets) == 1) {
		uint64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
		uint64_t wall = nanoseconds(CLOCK_MONOTONIC);
		answer(packets);
		cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
		wall = nanoseconds(CLOCK_MONOTONIC) - wall;
		printf("%llu %llu\n", (unsigned long long)cpu, (unsigned long long)wall);
		puts("bound");
	}
}
