// The most trivial worker: writes one byte to a FIFO when it has started, and sleeps.
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int f = argc > 1 ? open(argv[1], O_WRONLY) : -1;

	if (f < 0 || write(f, "", 1) != 1)
		return 1;
	close(f);
	for (;;)
		pause();
}
