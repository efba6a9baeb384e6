/* Prints a line as often as a busy worker does: LINES times, PER_SECOND of them
 * in a second. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	long lines = atol(argv[1]), period = 1000000000L / atol(argv[2]);
	struct timespec next;
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (long i = 1; i <= lines; i++) {
		char line[160];
		int n = snprintf(line, sizeof line, "INFO job %ld of worker %s is done after 0.123 s, as most of them are\n",
				 i, getenv("SUPERD_WORKER"));
		if (write(1, line, n) != n)
			return 1;
		next.tv_nsec += period;
		if (next.tv_nsec >= 1000000000L) {
			next.tv_nsec -= 1000000000L;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return 0;
}
