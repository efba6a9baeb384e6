// The floor under starting processes: vfork and exec in a loop, nothing else.
// floor N PROGRAM ARG... starts N of them, prints the milliseconds that the loop
// took, and kills and reaps them when its standard input is closed.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[1]) : 0;
	pid_t *pids = calloc(n + 1, sizeof *pids);
	double begin = now();
	char end;

	for (int i = 0; i < n; i++) {
		pids[i] = vfork();
		if (pids[i] < 0) {
			perror("vfork");
			break;
		}
		if (pids[i] == 0) {
			execve(argv[2], argv + 2, environ);
			_exit(127);
		}
	}
	printf("%.1f\n", now() - begin);
	fflush(stdout);
	while (read(0, &end, 1) > 0)
		;
	for (int i = 0; i < n && pids[i] > 0; i++)
		kill(pids[i], SIGKILL);
	for (int i = 0; i < n && pids[i] > 0; i++)
		waitpid(pids[i], 0, 0);
	return 0;
}
