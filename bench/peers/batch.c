/* Reads up to 64 packets per system call and answers them in one, each with the same mark.
 * It does nothing else: no attribute but the packet's id is looked at. The most that any program
 * that answers packets from userspace can reach. */
#define _GNU_SOURCE
#include "reader.h"
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define SLOT 576

struct config {
	struct nlmsghdr header;
	struct nfgenmsg family;
	struct nlattr cmd_header;
	struct nfqnl_msg_config_cmd cmd;
	struct nlattr params_header;
	struct nfqnl_msg_config_params params;
	uint8_t padding[3];
	struct nlattr length_header;
	uint32_t length;
	struct nlattr mask_header;
	uint32_t mask;
	struct nlattr flags_header;
	uint32_t flags;
};

struct verdict {
	struct nlmsghdr header;
	struct nfgenmsg family;
	struct nlattr verdict_header;
	struct nfqnl_msg_verdict_hdr verdict;
	struct nlattr mark_header;
	uint32_t mark;
};

static uint8_t slots[BATCH][SLOT] __attribute__((aligned(64)));
static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static struct verdict verdicts[BATCH];
static int netlink;

static void bind_queue(uint16_t queue)
{
	struct config request = {
		.header = {sizeof(request), NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG,
			   NLM_F_REQUEST | NLM_F_ACK},
		.family = {.res_id = htons(queue)},
		.cmd_header = {8, NFQA_CFG_CMD},
		.cmd = {.command = NFQNL_CFG_CMD_BIND},
		.params_header = {9, NFQA_CFG_PARAMS},
		.params = {htonl(COPY_RANGE), NFQNL_COPY_PACKET},
		.length_header = {8, NFQA_CFG_QUEUE_MAXLEN},
		.length = htonl(LENGTH),
		.mask_header = {8, NFQA_CFG_MASK},
		.mask = htonl(NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_GSO),
		.flags_header = {8, NFQA_CFG_FLAGS},
		.flags = htonl(NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_GSO),
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer;
	int size = RECEIVE_BUFFER, one = 1;

	netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	setsockopt(netlink, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one);
	if (setsockopt(netlink, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
		setsockopt(netlink, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	if (send(netlink, &request, sizeof request, 0) < 0 ||
	    recv(netlink, &answer, sizeof answer, 0) < 0 || answer.error.error)
		fail("bind");
}

static void prepare(uint16_t queue)
{
	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){slots[i], SLOT};
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		verdicts[i] = (struct verdict){
			.header = {sizeof(struct verdict),
				   NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT, NLM_F_REQUEST},
			.family = {.res_id = htons(queue)},
			.verdict_header = {12, NFQA_VERDICT_HDR},
			.verdict = {.verdict = htonl(NF_ACCEPT)},
			.mark_header = {8, NFQA_MARK},
			.mark = htonl(MARK),
		};
	}
}

static void answer(long packets)
{
	while (packets > 0) {
		int count = recvmmsg(netlink, messages, BATCH, MSG_WAITFORONE, NULL);
		if (count < 0)
			fail("recvmmsg");
		for (int i = 0; i < count; i++)
			/* The first attribute of a packet is its header, which begins with the id. */
			memcpy(&verdicts[i].verdict.id, slots[i] + 24, 4);
		if (send(netlink, verdicts, count * sizeof verdicts[0], 0) < 0)
			fail("send");
		packets -= count;
	}
}

int main(int argc, char **argv)
{
	uint16_t queue = argc > 1 ? atoi(argv[1]) : 0;
	bind_queue(queue);
	prepare(queue);
	serve(answer);
	return 0;
}
