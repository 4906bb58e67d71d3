/* The loop of libnetfilter_queue's own example: one packet per call, each with the same mark. */
#define _GNU_SOURCE
#include "reader.h"
#include <arpa/inet.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <sys/socket.h>

static struct nfq_handle *library;
static long answered;

static int on_packet(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *packet,
		     void *data)
{
	struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(packet);

	(void)message;
	(void)data;
	answered++;
	return nfq_set_verdict2(queue, ntohl(header->packet_id), NF_ACCEPT, MARK, 0, NULL);
}

static void answer(long packets)
{
	static char buffer[4096] __attribute__((aligned));

	for (answered = 0; answered < packets;) {
		ssize_t size = recv(nfq_fd(library), buffer, sizeof buffer, 0);
		if (size < 0)
			fail("recv");
		nfq_handle_packet(library, buffer, size);
	}
}

int main(int argc, char **argv)
{
	struct nfq_q_handle *queue;
	uint32_t flags = NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_GSO;
	int one = 1;

	library = nfq_open();
	if (!library)
		fail("nfq_open");
	queue = nfq_create_queue(library, argc > 1 ? atoi(argv[1]) : 0, on_packet, NULL);
	if (!queue)
		fail("nfq_create_queue");
	nfq_set_mode(queue, NFQNL_COPY_PACKET, COPY_RANGE);
	nfq_set_queue_maxlen(queue, LENGTH);
	nfq_set_queue_flags(queue, flags, flags);
	nfnl_rcvbufsiz(nfq_nfnlh(library), RECEIVE_BUFFER);
	setsockopt(nfq_fd(library), SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one);
	serve(answer);
	return 0;
}
