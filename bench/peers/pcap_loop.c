/* The least that reading a capture with libpcap costs: pcap_next_ex over the file, nothing else.
 * Prints packets, nanoseconds of CPU and of wall time, for each round asked for on stdin. */
#include <pcap/pcap.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static uint64_t now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int round_over(const char *path)
{
    char error[PCAP_ERRBUF_SIZE];
    struct pcap_pkthdr *header;
    const u_char *data;
    uint64_t cpu = now(CLOCK_PROCESS_CPUTIME_ID), wall = now(CLOCK_MONOTONIC), packets = 0;
    pcap_t *capture = pcap_open_offline(path, error);
    int outcome;

    if (capture == NULL) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    while ((outcome = pcap_next_ex(capture, &header, &data)) == 1)
        packets++;
    if (outcome != PCAP_ERROR_BREAK) {
        fprintf(stderr, "%s\n", pcap_geterr(capture));
        return 1;
    }
    pcap_close(capture);
    printf("%llu %llu %llu\n", (unsigned long long)packets,
           (unsigned long long)(now(CLOCK_PROCESS_CPUTIME_ID) - cpu),
           (unsigned long long)(now(CLOCK_MONOTONIC) - wall));
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    while (getchar() == '\n')
        if (round_over(argv[1]))
            return 1;
    return 0;
}
