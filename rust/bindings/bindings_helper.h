/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What toe's own bindgen run reads. The kernel's bindings keep most networking
 * structures opaque; these are ours, with layout tests on.
 */
#include <linux/debugfs.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/if_vlan.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/jiffies.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/skmsg.h>
#include <linux/sysfs.h>
#include <linux/tcp.h>
#include <linux/tracepoint.h>
#include <net/dst.h>
#include <net/inet_connection_sock.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/neighbour.h>
#include <net/net_namespace.h>
#include <net/netdev_queues.h>
#include <net/netns/generic.h>
#include <net/route.h>
#include <net/rtnetlink.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/tcp_states.h>
#include <net/tls.h>
#include <net/transp_v6.h>

#include "batch.h"
#include "bond.h"
#include "buffer.h"
#include "calls.h"
#include "conntrack.h"
#include "device.h"
#include "filter.h"
#include "fixture.h"
#include "input.h"
#include "recv.h"
#include "rules.h"
#include "short.h"
#include "slab.h"
#include "sock.h"
#include "vlan.h"
