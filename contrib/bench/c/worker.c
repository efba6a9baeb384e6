// The most trivial worker: tells a datagram socket that it has started, and sleeps.
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);

	if (argc < 2 || strlen(argv[1]) >= sizeof to.sun_path)
		return 2;
	strcpy(to.sun_path, argv[1]);
	if (s < 0 || sendto(s, "", 1, 0, (struct sockaddr *)&to, sizeof to) < 0)
		return 1;
	close(s);
	for (;;)
		pause();
}
